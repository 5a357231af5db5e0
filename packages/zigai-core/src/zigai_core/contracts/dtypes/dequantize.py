"""Block layouts of the GGUF tensor types, and numpy functions that turn their blocks into float32.

The layouts are those of the structs in ggml's `ggml-common.h` (`block_q4_0` … `block_q6_K`), and the
formulas those of its `dequantize_row_*`; https://github.com/ggml-org/ggml. All numbers are little-endian.
A `Dequantizer` converts uint8 `[blocks, block_bytes]`, at any alignment, to float32 `[blocks, block_size]`.
The order of operations is ggml's, so results are bitwise the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from zigai_core.contracts.dtypes.codebooks import FP4_VALUES, IQ4_VALUES

Dequantizer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Kernel = Callable[[NDArray[np.void], NDArray[np.float32]], None]
"""Dequantises structured `[blocks]` into float32 `[blocks, block_size]`, `CHUNK` elements at most."""

CHUNK = 1 << 15
"""Elements that are dequantised at a time: 128 KiB of float32, which fit into a core's cache."""

# d: scale of the block, m: minimum, qs: the low bits of the elements, qh: their high bits.
Q4_0 = np.dtype([("d", "<f2"), ("qs", "u1", (16,))])
Q4_1 = np.dtype([("d", "<f2"), ("m", "<f2"), ("qs", "u1", (16,))])
Q5_0 = np.dtype([("d", "<f2"), ("qh", "u1", (4,)), ("qs", "u1", (16,))])
Q5_1 = np.dtype([("d", "<f2"), ("m", "<f2"), ("qh", "u1", (4,)), ("qs", "u1", (16,))])
Q8_0 = np.dtype([("d", "<f2"), ("qs", "i1", (32,))])
# K-quants: 256 elements, cut into groups of 16 or 32 with a small integer scale (and minimum) each.
Q2_K = np.dtype([("scales", "u1", (16,)), ("qs", "u1", (2, 1, 32)), ("d", "<f2"), ("dmin", "<f2")])
Q3_K = np.dtype([("hmask", "u1", (1, 32)), ("qs", "u1", (2, 1, 32)), ("scales", "u1", (12,)), ("d", "<f2")])
Q4_K = np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", (12,)), ("qs", "u1", (4, 32))])
Q5_K = np.dtype(
    [("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", (12,)), ("qh", "u1", (1, 32)), ("qs", "u1", (4, 32))]
)
IQ4_NL = np.dtype([("d", "<f2"), ("qs", "u1", (16,))])
IQ4_XS = np.dtype([("d", "<f2"), ("scales_h", "<u2"), ("scales_l", "u1", (4,)), ("qs", "u1", (8, 16))])
MXFP4 = np.dtype([("e", "u1"), ("qs", "u1", (16,))])
Q6_K = np.dtype([("ql", "u1", (2, 2, 32)), ("qh", "u1", (2, 1, 32)), ("scales", "i1", (16,)), ("d", "<f2")])

_TWO_BIT_SHIFTS = np.array([0, 2, 4, 6], np.uint8)[:, None]
_ONE_BIT_SHIFTS = np.arange(8, dtype=np.uint8)[:, None]


def plain(stored: DTypeLike) -> Dequantizer:
    """Returns the dequantiser of a type that numpy has. Aligned float32 is returned as a view, not a copy."""
    dtype = np.dtype(stored)

    def dequantize(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = np.ascontiguousarray(blocks).view(dtype)
        if dtype == np.float32 and values.flags.aligned:
            return values.astype(np.float32, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(np.float32)

    return dequantize


def bf16(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Dequantises BF16, the upper half of a float32 (https://arxiv.org/abs/1905.12322)."""
    halves = np.ascontiguousarray(blocks).view("<u2")
    bits: NDArray[np.uint32] = np.left_shift(halves, 16, dtype=np.uint32)
    return bits.view(np.float32)


def blockwise(layout: np.dtype[np.void], block_size: int, kernel: Kernel) -> Dequantizer:
    """Returns the dequantiser that runs `kernel` over a few blocks at a time; `layout` is that of a block."""
    step = max(1, CHUNK // block_size)

    def dequantize(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        out = np.empty((len(blocks), block_size), np.float32)
        # The scales of a damaged file may be any float16: infinities and NaN are no reason for a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(blocks), step):
                part = np.ascontiguousarray(blocks[start : start + step])
                kernel(part.view(layout)[:, 0], out[start : start + step])
        return out

    return dequantize


def q4_0(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """`d * (q - 8)`; the low nibbles are elements 0 to 15, the high nibbles 16 to 31."""
    _nibbles(blocks["qs"], out)
    out -= 8
    out *= _scale(blocks["d"])


def q4_1(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """`d * q + m`."""
    _nibbles(blocks["qs"], out)
    out *= _scale(blocks["d"])
    out += _scale(blocks["m"])


def q5_0(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """`d * (q - 16)`; bit i of the 32-bit `qh` is the fifth bit of element i."""
    _five_bits(blocks, out)
    out -= 16
    out *= _scale(blocks["d"])


def q5_1(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """`d * q + m`."""
    _five_bits(blocks, out)
    out *= _scale(blocks["d"])
    out += _scale(blocks["m"])


def q8_0(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """`d * q` with signed 8-bit q."""
    np.multiply(blocks["qs"], _scale(blocks["d"]), out=out)


def q2_k(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """`(d * scale) * q - (dmin * minimum)`; 16 groups of 16, each with a nibble for scale and for minimum."""
    n = len(blocks)
    out.reshape(n, 2, 4, 32)[...] = (blocks["qs"] >> _TWO_BIT_SHIFTS) & 3
    scales = blocks["scales"]
    groups = out.reshape(n, 16, 16)
    groups *= (_scale(blocks["d"]) * (scales & 15))[..., None]
    groups -= (_scale(blocks["dmin"]) * (scales >> 4))[..., None]


def q3_k(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """`(d * (scale - 32)) * (q - 4)`; 16 groups of 16, bit i of `hmask` is the third bit of 32 elements."""
    n = len(blocks)
    low = ((blocks["qs"] >> _TWO_BIT_SHIFTS) & 3).reshape(n, 8, 32)
    low |= ((blocks["hmask"] >> _ONE_BIT_SHIFTS) & 1) << 2
    out.reshape(n, 8, 32)[...] = low
    out -= 4
    packed = blocks["scales"]  # the lower 4 bits of 16 scales in 8 bytes, then their upper 2 bits in 4
    scales = np.concatenate([packed[:, :8] & 15, packed[:, :8] >> 4], axis=1)
    scales |= ((packed[:, None, 8:] >> _TWO_BIT_SHIFTS) & 3).reshape(n, 16) << 4
    groups = out.reshape(n, 16, 16)
    groups *= (_scale(blocks["d"]) * (scales.astype(np.float32) - 32))[..., None]


def q4_k(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """`(d * scale) * q - (dmin * minimum)`; 8 groups of 32; the nibbles of 32 bytes hold two groups."""
    groups = out.reshape(len(blocks), 4, 2, 32)
    groups[:, :, 0] = blocks["qs"] & 15
    groups[:, :, 1] = blocks["qs"] >> 4
    _scale_and_minimum(blocks, out)


def q5_k(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """Q4_K with a fifth bit: bit g of `qh[i]` belongs to element i of group g."""
    n = len(blocks)
    elements = np.empty((n, 4, 2, 32), np.uint8)
    np.bitwise_and(blocks["qs"], 15, out=elements[:, :, 0])
    np.right_shift(blocks["qs"], 4, out=elements[:, :, 1])
    groups = elements.reshape(n, 8, 32)
    groups |= ((blocks["qh"] >> _ONE_BIT_SHIFTS) & 1) << 4
    out.reshape(n, 8, 32)[...] = groups
    _scale_and_minimum(blocks, out)


def q6_k(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """`(d * scale) * (q - 32)`; 16 groups of 16, signed scales, 4 low and 2 high bits per element."""
    n = len(blocks)
    elements = np.empty((n, 2, 4, 32), np.uint8)
    np.bitwise_and(blocks["ql"], 15, out=elements[:, :, :2])
    np.right_shift(blocks["ql"], 4, out=elements[:, :, 2:])
    elements |= ((blocks["qh"] >> _TWO_BIT_SHIFTS) & 3) << 4
    out[...] = elements.reshape(n, 256)
    out -= 32
    groups = out.reshape(n, 16, 16)
    groups *= (_scale(blocks["d"]) * blocks["scales"])[..., None]


def iq4_nl(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """`d * value`, the value by the element's four bits (`IQ4_VALUES`)."""
    _nibbles(blocks["qs"], out, IQ4_VALUES)
    out *= _scale(blocks["d"])


def iq4_xs(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """`(d * (scale - 32)) * value`; 8 groups of 32 with scales of 6 bits, and values as in IQ4_NL."""
    n = len(blocks)
    groups = out.reshape(n, 8, 32)
    _nibbles(blocks["qs"], groups, IQ4_VALUES)
    low = (blocks["scales_l"][:, :, None] >> np.array([0, 4], np.uint8) & 15).reshape(n, 8)
    high = blocks["scales_h"][:, None] >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    scales = (low | high << 4).astype(np.float32) - 32
    groups *= (_scale(blocks["d"]) * scales)[..., None]


def mxfp4(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """`2^(e - 128) * value`: MXFP4 of https://www.opencompute.org, with twice its values (`FP4_VALUES`)."""
    _nibbles(blocks["qs"], out, FP4_VALUES)
    out *= np.ldexp(np.float32(1), blocks["e"].astype(np.int32) - 128)[:, None]


def _scale(field: NDArray[Any]) -> NDArray[np.float32]:
    """Returns a float16 field `[blocks]` as float32 with one more axis: `[blocks, 1]`."""
    return field.astype(np.float32)[:, None]


def _nibbles(
    qs: NDArray[np.uint8], out: NDArray[np.float32], values: NDArray[np.float32] | None = None
) -> None:
    low, high = qs & 15, qs >> 4
    out[..., :16] = low if values is None else values[low]
    out[..., 16:] = high if values is None else values[high]


def _five_bits(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    elements = np.empty((len(blocks), 32), np.uint8)
    np.bitwise_and(blocks["qs"], 15, out=elements[:, :16])
    np.right_shift(blocks["qs"], 4, out=elements[:, 16:])
    high = np.unpackbits(np.ascontiguousarray(blocks["qh"]), axis=1, bitorder="little")
    elements |= high << 4
    out[...] = elements


def _scale_and_minimum(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
    """Applies a block's eight 6-bit scales and minimums, packed in 12 bytes (`get_scale_min_k4`)."""
    packed = blocks["scales"]
    first, second, rest = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, (rest & 15) | ((first >> 6) << 4)], axis=1)
    minimums = np.concatenate([second & 63, (rest >> 4) | ((second >> 6) << 4)], axis=1)
    groups = out.reshape(len(blocks), 8, 32)
    groups *= (_scale(blocks["d"]) * scales)[..., None]
    groups -= (_scale(blocks["dmin"]) * minimums)[..., None]
