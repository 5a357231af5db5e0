"""Selects the largest of many values until their weights reach a share of the total, in linear time.

Rows are processed in parts that fit the CPU's cache: temporary arrays as long as a row would cost more time
than the work itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.graph import Array

PART = 8192
"""Number of values that are processed together."""

FEW = 1024
"""At most this many values are sorted; more are narrowed down by the next digit first."""

DIGITS = ((20, 12), (8, 12), (0, 8))
"""Shift and width, in bits, of the digits of a 32-bit key, the highest first."""

Weigh = Callable[["slice | NDArray[np.integer[Any]]"], NDArray[np.float64]]
"""Function that returns the weights of the values at these indices."""


def parts(count: int) -> Iterator[slice]:
    """Slices of at most `PART` that cover the indices from 0 to `count`."""
    return (slice(start, min(start + PART, count)) for start in range(0, count, PART))


def places_of(chosen: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Indices of the true elements, ascending."""
    places = np.empty(np.count_nonzero(chosen), np.int32)
    start = 0
    for part in parts(len(chosen)):
        found = np.flatnonzero(chosen[part])
        places[start : start + len(found)] = found + part.start
        start += len(found)
    return places


def largest_reaching(keys: Array, weigh: Weigh, share: float, *, beyond: bool = False) -> NDArray[np.bool_]:
    """Select the largest keys whose weights add up to a share of the total weight.

    `keys`: float32 `[n]`, finite. `share`: a fraction of the total weight. Returns bool `[n]`: True for the
    shortest prefix of the keys in descending order (equal keys in order of index) whose weight is at least
    `share` of the total, or more than it if `beyond`; at least one key. If rounding keeps every prefix below
    the share, all keys with a weight above 0 are selected.

    A weighted radix selection: weights are summed by the highest digit of the keys, and only the keys whose
    digit lies at the border are examined again by the next digit.
    """
    side: Literal["left", "right"] = "right" if beyond else "left"
    chosen = np.zeros(len(keys), np.bool_)
    rest: NDArray[np.int32] | None = None  # indices of the keys at the border; None: all
    border_keys = keys
    reached, target = 0.0, -1.0
    low = 0
    for shift, width in DIGITS:
        if target >= 0 and (len(border_keys) <= FEW or border_keys.min() == border_keys.max()):
            break
        sums = _sums(border_keys, rest, weigh, shift, width)
        cumulative = reached + np.cumsum(sums)
        if target < 0:
            target = share * float(cumulative[-1])
        occupied = np.flatnonzero(sums)
        border = int(np.searchsorted(cumulative, target, side=side))
        border = min(max(border, int(occupied[0])), int(occupied[-1]))
        reached = float(cumulative[border - 1]) if border else reached
        low += ((1 << width) - 1 - border) << shift
        above, at_least = np.float32(_value(low + (1 << shift))), np.float32(_value(low))
        chosen |= keys >= above
        border_of = (keys >= at_least) & (keys < above)
        if not border_of.all():
            rest = places_of(border_of)
            border_keys = keys[rest]
    if len(border_keys) <= FEW:
        order = np.argsort(-border_keys, kind="stable").astype(np.int32)
        rest = order if rest is None else rest[order]
    for part in parts(len(border_keys)):
        places = part if rest is None else rest[part]
        cumulative = reached + np.cumsum(weigh(places))
        count = int(np.searchsorted(cumulative, target, side=side)) + 1
        if isinstance(places, slice):
            chosen[part.start : min(part.stop, part.start + count)] = True
        else:
            chosen[places[:count]] = True
        if count <= len(cumulative):
            break
        reached = float(cumulative[-1])
    return chosen


def _sums(
    keys: Array, places: NDArray[np.int32] | None, weigh: Weigh, shift: int, width: int
) -> NDArray[np.float64]:
    """Sum of the weights of the keys with each digit, the largest digit first."""
    sums = np.zeros(1 << width)
    for part in parts(len(keys)):
        bits = (keys[part] + np.float32(0)).view(np.int32)  # -0 becomes 0
        ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.uint32) ^ np.uint32(0x80000000)
        digits = (ordered >> np.uint32(shift)) & np.uint32((1 << width) - 1)
        weights = weigh(part if places is None else places[part])
        sums += np.bincount(digits.view(np.int32), weights, 1 << width)
    return sums[::-1]


def _value(order: int) -> float:
    """The float32 at an index in the order of all float32, in which 0 has index 2^31; -inf or inf outside."""
    if order <= 0x007FFFFF:
        return -math.inf
    if order >= 0xFF800000:
        return math.inf
    bits = order - 0x80000000 if order >= 0x80000000 else ~order & 0xFFFFFFFF
    return float(np.uint32(bits).view(np.float32))
