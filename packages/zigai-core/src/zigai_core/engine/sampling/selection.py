"""Choosing the largest of many values until their weights add up, in linear time: no step sorts a row."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.graph import Array

FEW = 1024
"""Values that are sorted."""


def largest_reaching(
    keys: Array, weights: NDArray[np.float64], wanted: float, *, beyond: bool = False
) -> NDArray[np.bool_]:
    """Which of `keys` (float32, none NaN) belong to the shortest beginning that weighs `wanted`.

    The beginning of their order: largest first, of equals the first. It weighs at least `wanted`, or more
    than it if `beyond`; where rounding leaves the sum of all below it, all are chosen.

    A weighted radix selection: by the upper and then by the lower 16 bits of a key, the weights are added up
    for each value of them, and what lies on the border is looked at again.
    """
    side: Literal["left", "right"] = "right" if beyond else "left"
    chosen = np.zeros(len(keys), np.bool_)
    rest = np.arange(len(keys))
    order = _ordered(keys)
    reached = 0.0
    for shift in (16, 0):
        if len(rest) <= FEW or order[rest[0]] == order[rest].min() == order[rest].max():
            break
        digits = (order[rest] >> shift) & 0xFFFF
        sums = np.bincount(digits, weights[rest], 0x10000)[::-1]
        cumulative = reached + np.cumsum(sums)
        occupied = np.flatnonzero(np.bincount(digits, minlength=0x10000)[::-1])
        border = min(int(np.searchsorted(cumulative, wanted, side=side)), int(occupied[-1]))
        border = int(occupied[np.searchsorted(occupied, border)])
        if border:
            reached = float(cumulative[border - 1])
        chosen[rest[digits > 0xFFFF - border]] = True
        rest = rest[digits == 0xFFFF - border]
    rest = rest[np.argsort(-keys[rest], kind="stable")]
    count = int(np.searchsorted(reached + np.cumsum(weights[rest]), wanted, side=side)) + 1
    chosen[rest[:count]] = True
    return chosen


def _ordered(keys: Array) -> NDArray[np.int64]:
    """Whole numbers from 0 to 2^32 - 1 in the order of the keys; 0 and -0 are equal."""
    bits = (keys + np.float32(0)).view(np.int32)
    order: NDArray[np.int64] = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) + 0x80000000
    return order
