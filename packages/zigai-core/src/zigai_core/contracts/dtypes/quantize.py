"""Numpy functions that turn float32 into the blocks of storage types: the counterpart of `dequantize`.

A `Quantizer` converts float32 `[blocks, block_size]` to uint8 `[blocks, block_bytes]`. Q8_0 is byte for byte
that of ggml's `quantize_row_q8_0_ref`. Q4_0 and Q4_K try several scales for each block and keep those with
the smallest squared error.

Native backends give the same bytes. So the arithmetic is float32 without fused multiply-add, each sum over a
block is accumulated element by element, with numpy over blocks, and rounding is to nearest, ties to even.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.dtypes import dequantize
from zigai_core.contracts.errors import FormatError

Quantizer = Callable[[NDArray[np.float32]], NDArray[np.uint8]]
Columns = NDArray[np.float32]
"""float32 `[elements of a block, blocks]`."""
BlockEncoder = Callable[[Columns, NDArray[np.void]], None]
"""Encodes columns into structured `[blocks]`."""

CHUNK = 1 << 17
"""Elements that are quantised at a time: 512 KiB of float32."""

LARGEST = {"Q8_0": 127 * 65504.0, "Q4_0": 2.0**18, "Q4_K": 2.0**21}
"""The largest magnitude of an element: the scales are then finite in float16, whose largest is 65504."""

Q4_0_STEPS = (-9.0, -8.625, -8.25, -7.875, -7.5, -7.125, -6.75, -6.375)
"""Codes, unrounded, that the element of largest magnitude of a Q4_0 block is tried at."""
Q4_K_STEPS = (13.0, 13.625, 14.25, 14.875, 15.5, 16.125)
"""Codes, unrounded, that the largest element of 32 of Q4_K is tried at, while the smallest is at 0."""
NEIGHBOURS = ((0, 0), (-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Differences to the rounded scale and minimum of 32 elements of Q4_K that are tried."""

_BELOW_HALF = np.nextafter(np.float32(0.5), np.float32(0))
_ZERO, _INFINITY = np.float32(0), np.float32(np.inf)


def unstorable(block: NDArray[np.floating[Any]], name: str) -> FormatError:
    """The error for a block with a number that the type `name` cannot store: NaN, infinite or too large."""
    finite = np.isfinite(block)
    if not finite.all():
        return FormatError(f"{block[~finite][0]} is not finite, so {name} cannot store it")
    return FormatError(f"{block[np.abs(block).argmax()]} is too large for {name}")


def plain(name: str, stored: str) -> Quantizer:
    """Returns the quantiser of a float type that numpy has. NaN and infinities stay."""

    def quantize(blocks: NDArray[Any]) -> NDArray[np.uint8]:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            result = np.ascontiguousarray(blocks, stored)
        _check_finite(blocks, np.isfinite(result), name)
        return result.view(np.uint8).reshape(len(blocks), -1)

    return quantize


def bf16(blocks: NDArray[Any]) -> NDArray[np.uint8]:
    """Rounds to the upper 16 bits of float32: to nearest, ties to even. NaN and infinities stay."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        single = np.ascontiguousarray(blocks, "<f4")
    bits = single.view("<u4")
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1)).astype("<u4")) >> 16
    result = np.where(np.isnan(single), (bits >> 16) | 0x40, rounded).astype("<u2")
    _check_finite(blocks, (result & 0x7F80) != 0x7F80, "BF16")
    return result.view(np.uint8).reshape(len(blocks), -1)


def blockwise(name: str, layout: np.dtype[np.void], encode: BlockEncoder) -> Quantizer:
    """Returns the quantiser that encodes blocks of `layout` whose elements are `LARGEST[name]` at most."""
    limit = np.float32(LARGEST[name])

    def quantize(blocks: NDArray[np.float32]) -> NDArray[np.uint8]:
        bad = ~(np.abs(blocks).max(axis=1, initial=0) <= limit)
        if bad.any():
            raise unstorable(blocks[bad.argmax()], name)
        stored = np.empty(len(blocks), layout)
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            encode(np.ascontiguousarray(blocks.T), stored)
        return stored.view(np.uint8).reshape(len(blocks), -1)

    return quantize


def q8_0(x: Columns, stored: NDArray[np.void]) -> None:
    """A scale, the largest magnitude over 127, and `x / scale` rounded, halves away from zero.

    Source: `quantize_row_q8_0_ref` of ggml. Adding the largest number below 1/2 and cutting the fraction off
    rounds as C's `roundf`.
    """
    scale = np.abs(x).max(axis=0) / np.float32(127)
    scaled = x * _inverse(scale)
    scaled += np.copysign(_BELOW_HALF, scaled)
    stored["d"] = scale
    stored["qs"] = scaled.T  # a cast to int8 cuts the fraction off


def q4_0(x: Columns, stored: NDArray[np.void]) -> None:
    """A scale, and `x / scale` rounded, within -8 to 7.

    For each of `Q4_0_STEPS`, codes q by a first scale, and the scale that minimises the squared error with
    these codes, `sum(x q) / sum(q q)`; of them the one whose error is smallest, that is, whose
    `sum(x q)^2 / sum(q q)` is largest.
    """
    low, high = x.min(axis=0), x.max(axis=0)
    peak = np.where(high < -low, low, high)
    best = scale = np.zeros_like(peak)
    for step in Q4_0_STEPS:
        xq, qq = np.zeros_like(peak), np.zeros_like(peak)
        inverse = _finite(np.float32(step) / peak)
        for column in x:
            q = np.rint(np.clip(column * inverse, -8, 7))
            xq += column * q
            qq += q * q
        fitted = xq / qq
        gain = xq * fitted
        better = best < gain
        best, scale = np.where(better, gain, best), np.where(better, fitted, scale)
    stored["d"] = scale
    codes = np.rint(np.clip(x * _inverse(stored["d"].astype(np.float32)), -8, 7)).astype(np.int8) + 8
    stored["qs"] = (codes[:16] | codes[16:] << 4).T


def q4_k(x: Columns, stored: NDArray[np.void]) -> None:
    """Eight groups of 32 elements `scale q - minimum`, with both of 6 bits relative to the block's largest.

    A group's scale and minimum are found by `_affine`. After rounding them to 6 bits, their `NEIGHBOURS` are
    tried, too, and those with the smallest squared error kept.
    """
    n = len(stored)
    x = np.ascontiguousarray(x.reshape(8, 32, n).transpose(1, 2, 0)).reshape(32, 8 * n)
    scale, minimum = _affine(x)
    d, dmin = ((of.reshape(n, 8).max(axis=1) / np.float32(63)).astype(np.float16) for of in (scale, minimum))
    d_of, dmin_of = (np.repeat(of.astype(np.float32), 8) for of in (d, dmin))
    scales = np.rint(np.minimum(scale * _inverse(d_of), 63))
    minimums = np.rint(np.minimum(minimum * _inverse(dmin_of), 63))
    best = np.full_like(scale, np.inf)
    chosen = scales, minimums
    for to_scale, to_minimum in NEIGHBOURS:
        tried = np.clip(scales + to_scale, 0, 63), np.clip(minimums + to_minimum, 0, 63)
        factor, offset = d_of * tried[0], dmin_of * tried[1]
        inverse, error = _inverse(factor), np.zeros_like(best)
        for column in x:
            q = np.rint(np.clip((column + offset) * inverse, 0, 15))
            difference = factor * q - offset - column
            error += difference * difference
        better = error < best
        best = np.where(better, error, best)
        chosen = np.where(better, tried[0], chosen[0]), np.where(better, tried[1], chosen[1])
    factor, offset = d_of * chosen[0], dmin_of * chosen[1]
    codes = np.rint(np.clip((x + offset) * _inverse(factor), 0, 15)).astype(np.uint8)
    pairs = codes.reshape(32, n, 4, 2).transpose(1, 2, 3, 0)
    s, m = (of.astype(np.uint8).reshape(n, 8) for of in chosen)
    stored["d"], stored["dmin"] = d, dmin
    stored["qs"] = pairs[:, :, 0] | pairs[:, :, 1] << 4
    stored["scales"] = np.concatenate(  # `get_scale_min_k4` of ggml-quants.c reads them
        [s[:, :4] | s[:, 4:] >> 4 << 6, m[:, :4] | m[:, 4:] >> 4 << 6, s[:, 4:] & 15 | (m[:, 4:] & 15) << 4],
        axis=1,
    )


def _affine(x: Columns) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scales and minimums of groups of 32, all at least 0, for `scale q - minimum` with q from 0 to 15.

    With codes q given, the best are those of linear regression, or, if that makes the minimum negative, of
    regression through zero. Their squared error is that of zeros less the `gain`. Codes are tried that come
    of `Q4_K_STEPS`, and at last of the scale and minimum that were best until then; without any, all
    elements are equal. The idea of trying steps is that of `make_qkx2_quants` in ggml-quants.c.
    """
    low = x.min(axis=0)
    low = np.where(low < 0, low, _ZERO)
    width = x.max(axis=0) - low
    total = np.zeros_like(low)
    for column in x:
        total += column
    start = np.where(total < 0, total / np.float32(32), _ZERO)
    best, scale = start * total, np.zeros_like(start)
    for step in (*Q4_K_STEPS, None):
        first = start if step is None else low
        inverse = _inverse(scale) if step is None else _finite(np.float32(step) / width)
        sum_q, qq, xq = np.zeros_like(low), np.zeros_like(low), np.zeros_like(low)
        for column in x:
            q = np.rint(np.clip((column - first) * inverse, 0, 15))
            sum_q += q
            qq += q * q
            xq += column * q
        determinant = np.float32(32) * qq - sum_q * sum_q
        intercept = (qq * total - sum_q * xq) / determinant
        slope = (np.float32(32) * xq - total * sum_q) / determinant
        through_zero = ~((determinant > 0) & (intercept <= 0))
        slope = np.where(through_zero, xq / qq, slope)
        intercept = np.where(through_zero, _ZERO, intercept)
        gain = slope * xq + intercept * total
        better = (slope > 0) & (best < gain)
        best, scale = np.where(better, gain, best), np.where(better, slope, scale)
        start = np.where(better, intercept, start)
    return scale, np.where(start < 0, -start, _ZERO)


def _inverse(of: NDArray[np.float32]) -> NDArray[np.float32]:
    return _finite(np.float32(1) / of)


def _finite(of: NDArray[np.float32]) -> NDArray[np.float32]:
    """Infinities and NaN become 0: the scale that they come of is 0, or as good as 0."""
    return np.where(np.abs(of) < _INFINITY, of, _ZERO)


def _check_finite(blocks: NDArray[Any], finite: NDArray[np.bool_], name: str) -> None:
    lost = np.isfinite(blocks) & ~finite
    if lost.any():
        raise unstorable(blocks[lost], name)


Q8_0 = blockwise("Q8_0", dequantize.Q8_0, q8_0)
Q4_0 = blockwise("Q4_0", dequantize.Q4_0, q4_0)
Q4_K = blockwise("Q4_K", dequantize.Q4_K, q4_k)
