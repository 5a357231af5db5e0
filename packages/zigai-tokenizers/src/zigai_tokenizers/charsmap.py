"""The check of a precompiled character map before the sentencepiece library walks it.

The map is a little-endian uint32 `size`, a Darts-clone double array of `size` bytes, and NUL-terminated
replacement texts that the array's values point into (`Normalizer::DecodePrecompiledCharsMap` of
google/sentencepiece). The library follows the array's offsets without looking at its end, so a map from a
file must be proven closed first.
"""

from __future__ import annotations

import numpy as np

from zigai_core.contracts.errors import FormatError

_LONGEST_REPLACEMENT = 1024
"""Bytes that one match may become: real maps stay below 64, a hostile one could make gigabytes of a line."""


def check_charsmap(blob: bytes) -> None:
    """`FormatError` for a map that is malformed or leads outside itself.

    A unit of the array (darts.h of s-yata/darts-clone): bit 31 marks a value (the other 31 bits), else bits
    0-7 are the label, bit 8 says that a value follows, and the children begin at
    `index ^ (bits 10-30 << (8 if bit 9 else 0))`, each at that index ^ its label.
    """
    if len(blob) < 4:
        raise _error(f"is {len(blob)} bytes long, too short for its size field")
    size = int.from_bytes(blob[:4], "little")
    if size < 1024 or size % 1024 or 4 + size >= len(blob):
        raise _error(
            f"says that its array takes {size} of {len(blob)} bytes; it must be whole KiB and leave texts"
        )
    texts = np.frombuffer(blob, dtype=np.uint8, offset=4 + size)
    if texts[-1] != 0:
        raise _error("does not end its replacement texts with a NUL")
    ends = np.flatnonzero(texts == 0)
    longest = int(np.diff(ends, prepend=-1).max()) - 1
    if longest > _LONGEST_REPLACEMENT:
        raise _error(f"holds a replacement text of {longest} bytes, more than {_LONGEST_REPLACEMENT}")

    units = np.frombuffer(blob, dtype="<u4", count=size // 4, offset=4).astype(np.int64)
    nodes = np.union1d(0, np.flatnonzero(units < 1 << 31))  # the root's own mark is never looked at
    # The count is a multiple of 256, so where a node's children begin inside, all of them lie inside.
    children = nodes ^ (units[nodes] >> 10 << (units[nodes] >> 6 & 8))
    outside = np.flatnonzero(children >= len(units))
    if len(outside):
        node = int(nodes[outside[0]])
        raise _error(f"is broken: unit {node} leads to {int(children[outside[0]])} of {len(units)} units")
    values = units[children[(units[nodes] >> 8 & 1) == 1]] & 0x7FFFFFFF
    if len(values) and int(values.max()) >= len(texts):
        raise _error(f"is broken: a value points to byte {int(values.max())} of {len(texts)} bytes of text")


def _error(what: str) -> FormatError:
    return FormatError(f"the vocabulary's precompiled_charsmap {what}")
