"""Validation of a precompiled character map.

The map is a little-endian uint32 `size`, a Darts-clone double array of `size` bytes, and NUL-terminated
replacement texts that values of the array point to (`Normalizer::DecodePrecompiledCharsMap` of
google/sentencepiece). The sentencepiece library follows offsets in the array without bounds checks, so all
offsets of a map from a file are checked first.
"""

from __future__ import annotations

import numpy as np

from zigai_core.contracts.errors import FormatError

_LONGEST_REPLACEMENT = 1024
"""Limit on the bytes of a replacement text: real maps stay below 64, and a hostile map could expand a line to
gigabytes."""


def check_charsmap(blob: bytes) -> int:
    """Returns the bytes of the longest replacement text.

    Raises `FormatError` if the map is malformed or one of its offsets leads outside it.

    Units of the array (darts.h of s-yata/darts-clone): if bit 31 is set, the other 31 bits are a value. Else
    bits 0-7 are the label, bit 8 is set if the node has a value, and the base of its children is
    `index ^ (bits 10-30 << (8 if bit 9 else 0))`: each child is at that base ^ its label.
    """
    if len(blob) < 4:
        raise _error(f"is {len(blob)} bytes long, too short for its size field")
    size = int.from_bytes(blob[:4], "little")
    if size < 1024 or size % 1024 or 4 + size >= len(blob):
        raise _error(
            f"has an array of {size} bytes in {len(blob)}; it must be a multiple of 1024 bytes and leave "
            "room for replacement texts"
        )
    texts = np.frombuffer(blob, dtype=np.uint8, offset=4 + size)
    if texts[-1] != 0:
        raise _error("does not end its replacement texts with a NUL")
    ends = np.flatnonzero(texts == 0)
    longest = int(np.diff(ends, prepend=-1).max()) - 1
    if longest > _LONGEST_REPLACEMENT:
        raise _error(f"contains a replacement text of {longest} bytes, more than {_LONGEST_REPLACEMENT}")

    units = np.frombuffer(blob, dtype="<u4", count=size // 4, offset=4).astype(np.int64)
    nodes = np.union1d(0, np.flatnonzero(units < 1 << 31))  # the root is a node whatever its bit 31
    # The number of units is a multiple of 256, so if the base of children is inside, all children are.
    children = nodes ^ (units[nodes] >> 10 << (units[nodes] >> 6 & 8))
    outside = np.flatnonzero(children >= len(units))
    if len(outside):
        node = int(nodes[outside[0]])
        raise _error(f"is damaged: unit {node} points to unit {int(children[outside[0]])} of {len(units)}")
    values = units[children[(units[nodes] >> 8 & 1) == 1]] & 0x7FFFFFFF
    if len(values) and int(values.max()) >= len(texts):
        raise _error(f"is damaged: a value points to byte {int(values.max())} of {len(texts)} bytes of text")
    return longest


def _error(what: str) -> FormatError:
    return FormatError(f"the vocabulary's precompiled_charsmap {what}")
