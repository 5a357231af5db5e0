"""Choosing the largest of many values until their weights add up, in linear time: no step sorts a row.

Work goes by parts of a row that stay in the CPU's cache: arrays of its length would cost more than the work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.graph import Array

PART = 8192
"""Values that are taken together."""

FEW = 1024
"""Values that are sorted."""

DIGITS = ((20, 12), (8, 12), (0, 8))
"""Shift and width of the digits that a key's 32 bits are looked at by."""

Weigh = Callable[["slice | NDArray[np.integer[Any]]"], NDArray[np.float64]]
"""The weights of the values at these places."""


def parts(count: int) -> Iterator[slice]:
    """The places from 0 to `count`, a part at a time."""
    return (slice(start, min(start + PART, count)) for start in range(0, count, PART))


def places_of(chosen: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The places of what is true."""
    places = np.empty(np.count_nonzero(chosen), np.int32)
    start = 0
    for part in parts(len(chosen)):
        found = np.flatnonzero(chosen[part])
        places[start : start + len(found)] = found + part.start
        start += len(found)
    return places


def largest_reaching(keys: Array, weigh: Weigh, share: float, *, beyond: bool = False) -> NDArray[np.bool_]:
    """Which of `keys` (float32, finite) belong to the shortest beginning that has this share of all weight.

    The beginning of their order, largest first, of equals the first; at least one. It has `share` or more, or
    more than it if `beyond`. Where rounding leaves the sum of all below it, all that weigh anything belong.

    A weighted radix selection: weights are added up by the first digit of the keys, and those keys that share
    the digit at the border are looked at again by the next.
    """
    side: Literal["left", "right"] = "right" if beyond else "left"
    chosen = np.zeros(len(keys), np.bool_)
    rest: NDArray[np.int32] | None = None  # the places of the keys at the border; None: all
    border_keys = keys
    reached, wanted = 0.0, -1.0
    low = 0
    for shift, width in DIGITS:
        if wanted >= 0 and (len(border_keys) <= FEW or border_keys.min() == border_keys.max()):
            break
        sums = _sums(border_keys, rest, weigh, shift, width)
        cumulative = reached + np.cumsum(sums)
        if wanted < 0:
            wanted = share * float(cumulative[-1])
        occupied = np.flatnonzero(sums)
        border = int(np.searchsorted(cumulative, wanted, side=side))
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
        count = int(np.searchsorted(cumulative, wanted, side=side)) + 1
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
    """The weight of the keys of each digit, the largest digit first."""
    sums = np.zeros(1 << width)
    for part in parts(len(keys)):
        bits = (keys[part] + np.float32(0)).view(np.int32)  # -0 becomes 0
        ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.uint32) ^ np.uint32(0x80000000)
        digits = (ordered >> np.uint32(shift)) & np.uint32((1 << width) - 1)
        weights = weigh(part if places is None else places[part])
        sums += np.bincount(digits.view(np.int32), weights, 1 << width)
    return sums[::-1]


def _value(order: int) -> float:
    """The float32 at a place in the order of all of them, where 0 stands at 2^31; then infinity."""
    if order <= 0x007FFFFF:
        return -math.inf
    if order >= 0xFF800000:
        return math.inf
    bits = order - 0x80000000 if order >= 0x80000000 else ~order & 0xFFFFFFFF
    return float(np.uint32(bits).view(np.float32))
