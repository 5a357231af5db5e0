"""Unigram in tokenizer.json: the model and the steps before it, as fields of a `TokenizerSpec`.

Source: the tokenizers library, whose file this is (`Unigram`, `Precompiled`, `Metaspace`, `WhitespaceSplit`).
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors.pipeline import check_decoder, metaspace, steps

_LARGEST = float(np.finfo(np.float64).max)
"""The largest score; whole numbers in JSON can be larger than any float."""
_KEYS = {"type", "unk_id", "vocab", "byte_fallback"}
_PLAIN = ("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents")
_SUPPORTED = "Precompiled, Replace of a text or of ' {2,}', Strip, " + ", ".join(_PLAIN)


@dataclass(frozen=True)
class UnigramVocabulary:
    """The model of the file: texts by id, and their scores, float64 `[texts]`."""

    texts: dict[int, str]
    scores: NDArray[np.float64]
    unknown: int
    byte_fallback: bool

    def scores_of(self, count: int) -> NDArray[np.float64]:
        """Returns the scores of `count` tokens, -inf for those that are not in the model."""
        added = np.full(max(count - len(self.scores), 0), -np.inf)
        return np.concatenate([self.scores, added])


def unigram_vocabulary(path: Path, model: Mapping[str, Any]) -> UnigramVocabulary:
    """Returns the model. Raises `FormatError` and `UnsupportedError`, with the field."""
    other = next((key for key in model if key not in _KEYS and model[key] is not None), None)
    if other is not None:
        raise UnsupportedError(f"{path}: model.{other} of Unigram is not supported")
    vocab = model.get("vocab")
    if not isinstance(vocab, list) or not vocab:
        raise FormatError(f"{path}: model.vocab is {quote(vocab)}, but must be a list of texts and scores")
    texts: dict[int, str] = {}
    scores = np.empty(len(vocab))
    for token, entry in enumerate(vocab):
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
            raise FormatError(f"{path}: model.vocab: {quote(entry)} is no pair of a text and a score")
        score = entry[1]
        if type(score) not in (int, float) or not -_LARGEST <= score <= _LARGEST:
            raise FormatError(f"{path}: model.vocab: the score of {quote(entry[0])} is {quote(score)}")
        texts[token], scores[token] = entry[0], score
    unknown = model.get("unk_id")
    if unknown is None:
        raise UnsupportedError(
            f"{path}: model.unk_id is null: Unigram without an unknown token is not supported"
        )
    if type(unknown) is not int or not 0 <= unknown < len(texts):
        raise FormatError(f"{path}: model.unk_id is {quote(unknown)}, but there are {len(texts)} tokens")
    fallback = model.get("byte_fallback", False)
    if not isinstance(fallback, bool):
        raise FormatError(f"{path}: model.byte_fallback is {quote(fallback)}, but must be true or false")
    return UnigramVocabulary(texts, scores, unknown, fallback)


def unigram(path: Path, file: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how texts become words: fields of `TokenizerSpec`.

    Raises `FormatError` for a setting that is not valid, `UnsupportedError` for a step that is another one.
    """
    found: dict[str, Any] = {"normalizers": [], "splits": (), "white_space_ends_words": False}
    for step in steps(file.get("normalizer"), "normalizers"):
        found["normalizers"].append(_normalizer(path, step, found))
    found["normalizers"] = tuple(found["normalizers"])
    before = steps(file.get("pre_tokenizer"), "pretokenizers")
    if before[:1] == [{"type": "WhitespaceSplit"}]:
        found["white_space_ends_words"] = True
        before = before[1:]
    if len(before) != 1 or not isinstance(before[0], dict) or before[0].get("type") != "Metaspace":
        raise UnsupportedError(
            f"{path}: pre_tokenizer: {quote(file.get('pre_tokenizer'))} is not supported with Unigram; "
            "Metaspace is, after WhitespaceSplit or alone"
        )
    prefix, scheme, pattern = metaspace(path, before[0])
    if scheme == "first" and (found["normalizers"] or found["white_space_ends_words"]):
        raise UnsupportedError(
            f"{path}: pre_tokenizer: prepend_scheme first of Metaspace is not supported with Unigram after a "
            "normalizer or WhitespaceSplit"
        )
    check_decoder(path, file.get("decoder"))
    return {
        **found,
        "add_space_prefix": prefix,
        "prefix_scheme": scheme,
        "splits": () if pattern is None else (pattern,),
    }


def _normalizer(path: Path, step: Any, found: dict[str, Any]) -> tuple[str, ...]:
    """The step as one of `TokenizerSpec.normalizers`; the map of `Precompiled` is put into `found`."""
    match step:
        case {"type": "Precompiled", "precompiled_charsmap": str() as encoded}:
            try:
                charsmap = b64decode(encoded, validate=True)
            except (Base64Error, ValueError):
                raise FormatError(f"{path}: normalizer: precompiled_charsmap is not base64") from None
            if found.setdefault("precompiled_charsmap", charsmap) != charsmap:
                raise UnsupportedError(f"{path}: normalizer: two steps Precompiled that differ")
            return ("Precompiled",)
        case {"type": "Replace", "pattern": {"String": str() as text}, "content": str() as by} if text:
            return ("Replace", text, by)
        case {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " " | "\u2581" | "" as by}:
            return ("Spaces", by)
        case {"type": "Strip", "strip_left": bool() as left, "strip_right": bool() as right} if left or right:
            return ("Strip", " ".join(side for side, is_so in (("left", left), ("right", right)) if is_so))
        case {"type": str() as name} if name in _PLAIN and len(step) == 1:
            return (name,)
    raise UnsupportedError(
        f"{path}: normalizer: the step {quote(step)} is not supported with Unigram; {_SUPPORTED} are"
    )
