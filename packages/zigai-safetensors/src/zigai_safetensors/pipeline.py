"""The steps of tokenizer.json before and after its model: what they mean to a `TokenizerSpec`.

Source: the tokenizers library, whose file this is. A step that is not understood raises `UnsupportedError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zigai_core.contracts.descriptor import PrefixScheme
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The expression of the library's `ByteLevel` with `use_regex`."""

SPACE = "\u2581"
"""The character that stands for a space in tokens of SentencePiece."""

_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_BACK = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
_PREPEND = {"type": "Prepend", "prepend": SPACE}
_STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}


@dataclass(frozen=True)
class Splitting:
    """How a text becomes words: fields of `TokenizerSpec`."""

    splits: tuple[str, ...] = ()
    normalizer: str | None = None
    prefix: bool = False
    scheme: PrefixScheme = "prepend"


def steps(given: Any, key: str) -> list[Any]:
    """Returns the steps of a part of the file, which is one, a `Sequence` of them under `key`, or null."""
    if given is None:
        return []
    found = given.get(key) if isinstance(given, dict) and given.get("type") == "Sequence" else [given]
    return found if isinstance(found, list) else [found]


def is_byte_level(file: Mapping[str, Any]) -> bool:
    """True if the last step before the model makes bytes of words."""
    found = steps(file.get("pre_tokenizer"), "pretokenizers")
    return any(isinstance(step, dict) and step.get("type") == "ByteLevel" for step in found)


def byte_level(path: Path, file: Mapping[str, Any]) -> Splitting:
    """The steps before byte-level BPE: NFC, expressions, and `ByteLevel` at the end."""
    found = steps(file.get("pre_tokenizer"), "pretokenizers")
    patterns: list[str] = []
    for step in found[:-1]:
        pattern = _expression(path, step)
        if pattern is None:
            raise _unknown(path, "pre_tokenizer", step)
        patterns.append(pattern)
    last = found[-1]
    if not isinstance(last, dict) or last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        raise _unknown(path, "pre_tokenizer", last)
    if last.get("use_regex", True):
        patterns.append(GPT2)
    normalizer = None
    for step in steps(file.get("normalizer"), "normalizers"):
        if step != {"type": "NFC"}:
            raise _unknown(path, "normalizer", step, "; NFC is")
        normalizer = "NFC"
    return Splitting(tuple(patterns), normalizer)


def sentencepiece(path: Path, file: Mapping[str, Any]) -> Splitting:
    """The steps before BPE of characters, which make U+2581 of spaces and may put one before a text."""
    normalizer, prefix, replaced = _normalizers(path, file)
    scheme: PrefixScheme = "prepend"
    patterns: list[str] = []
    for place, step in enumerate(steps(file.get("pre_tokenizer"), "pretokenizers")):
        if isinstance(step, dict) and step.get("type") == "Metaspace" and not place:
            if prefix or replaced:
                raise _unknown(path, "pre_tokenizer", step, f" after {quote(file.get('normalizer'))}")
            prefix, scheme, pattern = metaspace(path, step)
            replaced = True
            patterns += [] if pattern is None else [pattern]
        elif not (replaced and _finds_no_space(step)):
            pattern = _expression(path, step)
            if pattern is None or not replaced:
                raise _unknown(path, "pre_tokenizer", step)
            patterns.append(pattern)
    if not replaced:
        raise UnsupportedError(
            f"{path}: neither the normalizer {quote(file.get('normalizer'))} nor the pre_tokenizer "
            f"{quote(file.get('pre_tokenizer'))} makes U+2581 of spaces, and that alone is supported"
        )
    check_decoder(path, file.get("decoder"))
    return Splitting(tuple(patterns), normalizer, prefix, scheme)


def _normalizers(path: Path, file: Mapping[str, Any]) -> tuple[str | None, bool, bool]:
    """The normalisation, whether a space is put before a text, and whether spaces become U+2581."""
    found = steps(file.get("normalizer"), "normalizers")
    for place, step in enumerate(found):
        if step not in ({"type": "NFC"}, _PREPEND, _REPLACE) or step in found[:place]:
            raise _unknown(path, "normalizer", step)
    return "NFC" if {"type": "NFC"} in found else None, _PREPEND in found, _REPLACE in found


def _finds_no_space(step: Any) -> bool:
    """True for a step that splits at spaces, which does nothing once they are U+2581."""
    entry = step if isinstance(step, dict) else {}
    return (
        entry.get("type") == "Split" and entry.get("pattern") == {"String": " "} and not entry.get("invert")
    )


def check_decoder(path: Path, given: Any) -> None:
    """Raises `UnsupportedError` unless a decoder makes spaces of U+2581 and characters of byte tokens."""
    found = steps(given, "decoders")
    for step in found:
        kind = step.get("type") if isinstance(step, dict) else None
        spaces = kind == "Metaspace" and step.get("replacement", SPACE) == SPACE
        if not spaces and step not in (_BACK, _STRIP, {"type": "ByteFallback"}, {"type": "Fuse"}):
            raise _unknown(path, "decoder", step)
    if not any(step == _BACK or step.get("type") == "Metaspace" for step in found):
        raise UnsupportedError(f"{path}: the decoder {quote(given)} does not make spaces of U+2581")


def outer_tokens(path: Path, given: Any, ids: Mapping[str, int]) -> tuple[int | None, int | None]:
    """The tokens that the post_processor puts before and after every text; None for none."""
    before: int | None = None
    after: int | None = None
    for step in steps(given, "processors"):
        if isinstance(step, dict) and step.get("type") == "ByteLevel":
            continue
        if isinstance(step, dict) and step.get("type") in ("BertProcessing", "RobertaProcessing"):
            before, after = (_token_of(path, step, key, ids) for key in ("cls", "sep"))
            continue
        if not isinstance(step, dict) or step.get("type") != "TemplateProcessing":
            raise _unknown(path, "post_processor", step)
        single = step.get("single")
        if not isinstance(single, list):
            raise FormatError(f"{path}: post_processor: single is {quote(single)}")
        names = [special_part(each) for each in single]
        place = names.index(None) if None in names else 2
        outer = [name for name in names if name is not None]
        if (
            place > 1
            or len(names) > place + 2
            or len(outer) != len(names) - 1
            or not ids.keys() >= set(outer)
        ):
            raise UnsupportedError(f"{path}: post_processor: the template {quote(single)} is not supported")
        before = ids[outer[0]] if place else before
        after = ids[outer[-1]] if len(names) > place + 1 else after
    return before, after


def _token_of(path: Path, step: Mapping[str, Any], key: str, ids: Mapping[str, int]) -> int:
    """The id of a token that a step names by text and id."""
    given = step.get(key)
    if not isinstance(given, list) or len(given) != 2 or not isinstance(given[0], str):
        raise FormatError(f"{path}: post_processor: {key} is {quote(given)}, but must be a token and its id")
    if type(given[1]) is not int or ids.get(given[0]) != given[1]:
        raise FormatError(
            f"{path}: post_processor: {key} is {quote(given)}, which is not a token with its id"
        )
    return given[1]


def metaspace(path: Path, step: Mapping[str, Any]) -> tuple[bool, PrefixScheme, str | None]:
    """Whether a step `Metaspace` puts a space before texts and before which, and how it splits them."""
    scheme = step.get("prepend_scheme", "always")
    known = scheme in ("always", "first", "never") and step.get("replacement") == SPACE
    if not known or (step.get("add_prefix_space") is False and scheme != "never"):
        raise _unknown(path, "pre_tokenizer", step)
    split = None if step.get("split", True) is False else f"{SPACE}[^{SPACE}]*"
    return scheme != "never", "first" if scheme == "first" else "always", split


def _expression(path: Path, step: Any) -> str | None:
    """The expression of a step that splits by one; None for another step."""
    entry = step if isinstance(step, dict) else {}
    if entry.get("type") == "Digits":
        return r"\p{N}" if entry.get("individual_digits") else r"\p{N}+"
    if entry.get("type") != "Split" or entry.get("behavior") != "Isolated" or entry.get("invert"):
        return None
    pattern = entry.get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, dict) else None
    if not isinstance(regex, str):
        raise UnsupportedError(f"{path}: pre_tokenizer: a split at {quote(pattern)} is not supported")
    return regex


def special_part(part: Any) -> str | None:
    """The special token that a part of a template stands for; None for the text."""
    found = part.get("SpecialToken") if isinstance(part, dict) else None
    name = found.get("id") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None


def _unknown(path: Path, part: str, step: Any, more: str = "") -> UnsupportedError:
    return UnsupportedError(f"{path}: {part}: the step {quote(step)} is not supported{more}")
