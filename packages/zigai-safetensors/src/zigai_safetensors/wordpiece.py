"""WordPiece in tokenizer.json: the model and the steps before it, as fields of a `TokenizerSpec`.

Source: the tokenizers library, whose file this is (`BertNormalizer`, `BertPreTokenizer`, `WordPiece`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zigai_core.contracts.descriptor import WordNormalization
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors.pipeline import steps

_FLAGS = {"clean": "clean_text", "chinese": "handle_chinese_chars", "lowercase": "lowercase"}
"""The library's name of each field of `WordNormalization` that is true or false."""


def wordpiece(path: Path, file: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how texts become words and words tokens: fields of `TokenizerSpec`.

    Raises `FormatError` for a setting that is not valid, `UnsupportedError` for a step that is another one.
    """
    splits = steps(file.get("pre_tokenizer"), "pretokenizers")
    for step in splits or [file.get("pre_tokenizer")]:
        if step != {"type": "BertPreTokenizer"}:
            raise _unknown(path, "pre_tokenizer", step, "BertPreTokenizer")
    for step in steps(file.get("decoder"), "decoders"):
        if not isinstance(step, dict) or step.get("type") != "WordPiece":
            raise _unknown(path, "decoder", step, "WordPiece")
    prefix = model.get("continuing_subword_prefix", "##")
    if not isinstance(prefix, str):
        raise FormatError(f"{path}: model.continuing_subword_prefix is {quote(prefix)}, but must be a text")
    if not prefix:
        raise UnsupportedError(
            f"{path}: model.continuing_subword_prefix is empty, so tokens within a word are those that begin "
            "one, which is not supported"
        )
    longest = model.get("max_input_chars_per_word", 100)
    if type(longest) is not int or longest < 0:
        raise FormatError(
            f"{path}: model.max_input_chars_per_word is {quote(longest)}, but must be a whole number"
        )
    return {"words": _normalization(path, file), "continuing_prefix": prefix, "longest_word": longest}


def unknown_token(path: Path, model: Mapping[str, Any], ids: Mapping[str, int]) -> int:
    """Returns the id of `model.unk_token`. Raises `FormatError` if it is no token."""
    text = model.get("unk_token", "[UNK]")
    if not isinstance(text, str) or text not in ids:
        raise FormatError(f"{path}: model.unk_token is {quote(text)}, which is not a token of model.vocab")
    return ids[text]


def _normalization(path: Path, file: Mapping[str, Any]) -> WordNormalization:
    found = steps(file.get("normalizer"), "normalizers")
    if len(found) != 1 or not isinstance(found[0], dict) or found[0].get("type") != "BertNormalizer":
        raise _unknown(path, "normalizer", file.get("normalizer"), "one BertNormalizer")
    [step] = found
    known = {"type", "strip_accents", *_FLAGS.values()}
    other = next((key for key in step if key not in known), None)
    if other is not None:
        raise UnsupportedError(f"{path}: normalizer: {quote(other)} of BertNormalizer is not supported")
    values = {field: step.get(key, True) for field, key in _FLAGS.items()}
    values["strip_accents"] = step.get("strip_accents")
    for field, value in values.items():
        if not isinstance(value, bool) and not (field == "strip_accents" and value is None):
            key = _FLAGS.get(field, field)
            raise FormatError(f"{path}: normalizer: {key} is {quote(value)}, but must be true or false")
    return WordNormalization(**values)


def _unknown(path: Path, part: str, step: Any, supported: str) -> UnsupportedError:
    return UnsupportedError(
        f"{path}: {part}: the step {quote(step)} is not supported with WordPiece; {supported} is"
    )
