"""Tokens, types and merges of a folder's vocabulary, whichever file has them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors.added_tokens import AddedToken, check_id

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of tokens, as in GGUF."""

_BYTE = re.compile("<0x[0-9A-F]{2}>")


def texts_by_id(path: Path, vocab: Mapping[str, Any]) -> dict[int, str]:
    """Returns the texts of `model.vocab` of tokenizer.json by id."""
    texts: dict[int, str] = {}
    for text, token in vocab.items():
        check_id(path, text, token)
        if token in texts:
            raise _two(path, texts[token], text, token)
        texts[token] = text
    return texts


def tokens_and_types(
    path: Path, texts: Mapping[int, str], added: Sequence[AddedToken], *, byte_fallback: bool
) -> tuple[list[str], NDArray[np.int32]]:
    """Returns the text and the type of each token. Ids that no token has are unused tokens."""
    every = dict(texts)
    kinds = {token: BYTE for token, text in texts.items() if byte_fallback and _BYTE.fullmatch(text)}
    for entry in added:
        if every.get(entry.id, entry.content) != entry.content:
            raise _two(path, every[entry.id], entry.content, entry.id)
        every[entry.id] = entry.content
        kinds[entry.id] = CONTROL if entry.special else USER_DEFINED
    if not every:
        raise FormatError(f"{path}: model.vocab is empty")
    count = max(every) + 1
    if count > 2 * len(every) + 1024:
        raise FormatError(f"{path}: the id {count - 1} is far above the number of tokens, {len(every)}")
    types = [kinds.get(token, NORMAL if token in every else UNUSED) for token in range(count)]
    return [every.get(token, f"[UNUSED{token}]") for token in range(count)], np.array(types, np.int32)


def merge_lines(path: Path, merges: Any) -> list[str]:
    """Returns the merges, each as two tokens with a space between them."""
    if not isinstance(merges, list):
        raise FormatError(f"{path}: model.merges is {quote(merges)}, but must be a list")
    lines = []
    for merge in merges:
        line = merge if isinstance(merge, str) else _joined(merge)
        if line.count(" ") != 1:
            if isinstance(merge, list) and line:
                raise UnsupportedError(
                    f"{path}: model.merges: {quote(merge)} has a token with a space, which is not supported"
                )
            raise FormatError(f"{path}: model.merges: {quote(merge)} is no pair of tokens")
        lines.append(line)
    return lines


def _joined(pair: Any) -> str:
    """A pair of texts with a space between them; nothing for any other value."""
    if isinstance(pair, list) and len(pair) == 2:
        try:
            return " ".join(pair)
        except TypeError:
            pass
    return ""


def _two(path: Path, one: str, other: str, token: int) -> FormatError:
    return FormatError(f"{path}: the tokens {quote(one)} and {quote(other)} have the id {token}")
