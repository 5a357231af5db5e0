"""Unsigned integers of 4 or 8 bits that are packed into 32-bit words, the first in the lowest bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo

_PIECE = 1 << 22
"""Bytes that are compared at a time."""


def words(tensor: TensorInfo) -> NDArray[np.uint32]:
    """The words of an I32 tensor with two dimensions, of which a copy is kept: a view of its bytes."""
    return tensor.data.view("<u4").reshape(tensor.shape)


def unpacked(packed: NDArray[np.uint32], bits: int) -> NDArray[np.uint8]:
    """The integers of words [n, k]: uint8 [n, k * 32 / bits]."""
    stored = np.ascontiguousarray(packed, "<u4").view(np.uint8)
    if bits == 8:
        return stored
    out = np.empty((len(stored), 2 * stored.shape[1]), np.uint8)
    np.bitwise_and(stored, 15, out=out[:, 0::2])
    np.right_shift(stored, 4, out=out[:, 1::2])
    return out


def repeated(number: int, bits: int) -> int:
    """The word that holds `number` in every place.

    >>> hex(repeated(8, 4))
    '0x88888888'
    """
    return sum(number << place for place in range(0, 32, bits))


def all_are(tensor: TensorInfo, word: int, rows: int | None = None) -> bool:
    """True if all words of the first rows (None: of all rows) of an I32 tensor [n, k] are `word`.

    Reads a few megabytes at a time, and stops at the first that differs.
    """
    count = tensor.shape[0] if rows is None else rows
    step = max(1, _PIECE // (4 * tensor.shape[1]))
    return all(
        bool((tensor.copy_rows(at, min(at + step, count)).view("<u4") == word).all())
        for at in range(0, count, step)
    )
