"""tokenizer.json and tokenizer_config.json as a `TokenizerSpec`: byte-level BPE.

Source: the tokenizers library, whose file this is. What the file asks for and is not understood is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors import limits
from zigai_safetensors.files import read_json

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Types of tokens, as in GGUF."""

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The expression of the library's `ByteLevel` with `use_regex`."""

ROLES = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
"""Keys of tokenizer_config.json by role."""

_MOST_TOKENS = 1 << 21


def read_tokenizer(folder: Path, ends: Sequence[int], size: int) -> TokenizerSpec | None:
    """Returns the vocabulary of a folder, or None if it has no tokenizer.json.

    `ends` are the ids that end a reply by the configurations, `size` is that of the model's vocabulary.
    Raises `FormatError` for a file that is not valid or has more tokens than the model, `UnsupportedError`
    for what is not understood.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        if (folder / "tokenizer.model").exists():
            raise UnsupportedError(
                f"{folder}: holds tokenizer.model and no tokenizer.json, and only that is read"
            )
        return None
    file = read_json(path, limits.TOKENIZER_BYTES)
    settings_path = folder / "tokenizer_config.json"
    settings = read_json(settings_path) if settings_path.exists() else {}
    model = _object(path, "model", file.get("model"))
    if model.get("type", "BPE") != "BPE":
        raise UnsupportedError(f"{path}: a tokenizer of type {quote(model.get('type'))} is not read; BPE is")
    splits = _splits(path, file.get("pre_tokenizer"))
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(key):
            raise UnsupportedError(f"{path}: model.{key} is {quote(model[key])}, which is not supported")
    tokens, types = _tokens(
        path, _object(path, "model.vocab", model.get("vocab")), file.get("added_tokens") or []
    )
    if size and len(tokens) > size:
        raise FormatError(f"{path}: has {len(tokens)} tokens, but the model only {size}")
    ids = {text: token for token, text in reversed(list(enumerate(tokens)))}
    special = {
        role: ids[text]
        for role, key in ROLES.items()
        if (text := _content(settings.get(key))) is not None and text in ids
    }
    bos = _first_token(path, file.get("post_processor"), ids)
    if bos is not None:
        special["bos"] = bos
    wrong = [end for end in ends if not 0 <= end < len(tokens)]
    if wrong:
        raise FormatError(f"{folder}: eos_token_id is {wrong[0]}, but {path.name} has {len(tokens)} tokens")
    return TokenizerSpec(
        kind="gpt2",
        tokens=tokens,
        types=types,
        merges=_merges(path, model.get("merges")),
        special_ids={"eos": ends[0], **special} if ends else special,
        end_ids=frozenset(ends) | ({special["eos"]} if "eos" in special else frozenset()),
        add_bos=bos is not None,
        splits=splits,
        ignore_merges=bool(model.get("ignore_merges", False)),
        normalizer=_normalizer(path, file.get("normalizer")),
    )


def _tokens(
    path: Path, vocab: Mapping[str, Any], added: Any
) -> tuple[list[str], np.ndarray[Any, np.dtype[np.int32]]]:
    """The text and the type of each token. Ids that no token has are unused tokens."""
    texts: dict[int, str] = {}
    kinds: dict[int, int] = {}
    for text, token in vocab.items():
        _check_id(path, text, token)
        if token in texts:
            raise FormatError(
                f"{path}: the tokens {quote(texts[token])} and {quote(text)} have the id {token}"
            )
        texts[token] = text
    if not isinstance(added, list):
        raise FormatError(f"{path}: added_tokens is {quote(added)}, but must be a list")
    for each in added:
        entry = _object(path, "added_tokens", each)
        content = entry.get("content")
        if not isinstance(content, str):
            raise FormatError(f"{path}: added_tokens: {quote(each)} has no content")
        text, token = content, _check_id(path, content, entry.get("id"))
        if texts.get(token, text) != text:
            raise FormatError(
                f"{path}: the tokens {quote(texts[token])} and {quote(text)} have the id {token}"
            )
        texts[token] = text
        kinds[token] = CONTROL if entry.get("special") else USER_DEFINED
    if not texts:
        raise FormatError(f"{path}: model.vocab is empty")
    count = max(texts) + 1
    if count > 2 * len(texts) + 1024:
        raise FormatError(f"{path}: the id {count - 1} is far above the number of tokens, {len(texts)}")
    types = np.array(
        [kinds.get(token, NORMAL if token in texts else UNUSED) for token in range(count)], np.int32
    )
    return [texts.get(token, f"[UNUSED{token}]") for token in range(count)], types


def _check_id(path: Path, text: str, token: Any) -> int:
    if type(token) is not int or not 0 <= token < _MOST_TOKENS:
        raise FormatError(f"{path}: the token {quote(text)} has the id {quote(token)}")
    return int(token)


def _merges(path: Path, merges: Any) -> list[str]:
    if not isinstance(merges, list):
        raise FormatError(f"{path}: model.merges is {quote(merges)}, but must be a list")
    lines = []
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise FormatError(f"{path}: model.merges: {quote(merge)} is no pair of tokens")
        lines.append(f"{pair[0]} {pair[1]}")
    return lines


def _splits(path: Path, given: Any) -> tuple[str, ...]:
    """The regular expressions that split a text into words; the last step must be `ByteLevel`."""
    steps = (
        given.get("pretokenizers", ())
        if isinstance(given, dict) and given.get("type") == "Sequence"
        else [given]
    )
    patterns: list[str] = []
    bytewise = False
    for place, step in enumerate(steps):
        entry = _object(path, "pre_tokenizer", step)
        kind, last = entry.get("type"), place == len(steps) - 1
        if kind == "Split" and entry.get("behavior") == "Isolated" and not entry.get("invert"):
            pattern = entry.get("pattern")
            regex = pattern.get("Regex") if isinstance(pattern, dict) else None
            if not isinstance(regex, str):
                raise UnsupportedError(f"{path}: pre_tokenizer: a split at {quote(pattern)} is not supported")
            patterns.append(regex)
        elif kind == "Digits":
            patterns.append(r"\p{N}" if entry.get("individual_digits") else r"\p{N}+")
        elif kind == "ByteLevel" and last and not entry.get("add_prefix_space"):
            bytewise = True
            if entry.get("use_regex", True):
                patterns.append(GPT2)
        else:
            raise UnsupportedError(f"{path}: pre_tokenizer: the step {quote(step)} is not supported")
    if not bytewise:
        raise UnsupportedError(
            f"{path}: it is not byte-level BPE, the only kind of tokenizer.json that is read: use a "
            "GGUF file of this model"
        )
    return tuple(patterns)


def _normalizer(path: Path, given: Any) -> str | None:
    if given is None:
        return None
    kinds = (
        given.get("normalizers", ())
        if isinstance(given, dict) and given.get("type") == "Sequence"
        else [given]
    )
    names = [each.get("type") if isinstance(each, dict) else each for each in kinds]
    if not names:
        return None
    if names == ["NFC"]:
        return "NFC"
    raise UnsupportedError(f"{path}: the normalizer {quote(given)} is not supported; NFC is")


def _first_token(path: Path, given: Any, ids: Mapping[str, int]) -> int | None:
    """The token that begins every text; None for none."""
    steps = (
        given.get("processors", ())
        if isinstance(given, dict) and given.get("type") == "Sequence"
        else [given]
    )
    bos = None
    for step in steps:
        if step is None or (isinstance(step, dict) and step.get("type") == "ByteLevel"):
            continue
        if not isinstance(step, dict) or step.get("type") != "TemplateProcessing":
            raise UnsupportedError(f"{path}: post_processor: {quote(step)} is not supported")
        single = step.get("single")
        if not isinstance(single, list):
            raise FormatError(f"{path}: post_processor: single is {quote(single)}")
        names = [_special(each) for each in single]
        if names == [None]:
            continue
        first = names[0]
        if len(names) != 2 or first is None or first not in ids or names[1] is not None:
            raise UnsupportedError(f"{path}: post_processor: the template {quote(single)} is not supported")
        bos = ids[first]
    return bos


def _special(part: Any) -> str | None:
    """The special token that a part of a template stands for; None for the text."""
    found = part.get("SpecialToken") if isinstance(part, dict) else None
    return _content({"content": found.get("id")}) if isinstance(found, dict) else None


def _content(value: Any) -> str | None:
    """The text of a token, which is given as such or as an object."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _object(path: Path, name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(f"{path}: {name} is {quote(value)}, but must be an object")
    return value
