"""The 256 characters by which byte-level BPE spells bytes.

Source: `bytes_to_unicode` of GPT-2 (openai/gpt-2, src/encoder.py).
Bytes that are printable characters of Latin-1 stand for themselves; the others are U+0100 and up, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))


def _characters() -> str:
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in _PRINTABLE else next(others)) for byte in range(256))


CHARACTERS = _characters()
"""`CHARACTERS[byte]` spells that byte."""

_BYTES = np.full(max(map(ord, CHARACTERS)) + 2, -1, dtype=np.int16)  # the last: anything beyond
_BYTES[[ord(character) for character in CHARACTERS]] = np.arange(256)


def spelled_bytes(texts: Sequence[str]) -> list[bytes]:
    """The bytes that each text spells; one with any other character stands for itself, in UTF-8."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype="<u4")
    values = _BYTES[np.minimum(codes, len(_BYTES) - 1)]
    data = values.astype(np.uint8).tobytes()
    ends = np.cumsum([0, *map(len, texts)])
    spelled = [data[start:end] for start, end in pairwise(ends.tolist())]
    for index in set((np.searchsorted(ends, np.flatnonzero(values < 0), side="right") - 1).tolist()):
        spelled[index] = texts[index].encode()
    return spelled
