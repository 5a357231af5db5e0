"""Storage types whose elements are small integers found by code: in books of vectors, or as digits.

Layouts and formulas are those of ggml (`block_iq1_s` … in ggml-common.h, `dequantize_row_*` in
ggml-quants.c); https://github.com/ggml-org/ggml. Each function turns structured `[blocks]` into int8 elements
`[blocks, block_size]` and float32 scales `[blocks, groups]` of equal groups of elements. A scale has few
significant bits, so that the product with an element is exact, in whatever order ggml multiplies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.dtypes.codebooks import FP4_VALUES, code_book, signs
from zigai_core.contracts.dtypes.dequantize import Kernel

Decoded = tuple[NDArray[np.int8], NDArray[np.float32]]
Decoder = Callable[[NDArray[np.void]], Decoded]

# d: scale of the block, qs: codes, qh: their high bits.
Q8_1 = np.dtype([("d", "<f2"), ("s", "<f2"), ("qs", "i1", (32,))])
Q8_K = np.dtype([("d", "<f4"), ("qs", "i1", (256,)), ("sums", "<i2", (16,))])
IQ1_S = np.dtype([("d", "<f2"), ("qs", "u1", (8, 4)), ("qh", "<u2", (8,))])
IQ1_M = np.dtype([("qs", "u1", (16, 2)), ("qh", "u1", (16,)), ("scales", "<u2", (4,))])
IQ2_XXS = np.dtype([("d", "<f2"), ("codes", [("qs", "u1", (4,)), ("rest", "<u4")], (8,))])
IQ2_XS = np.dtype([("d", "<f2"), ("qs", "<u2", (32,)), ("scales", "u1", (8,))])
IQ2_S = np.dtype(
    [("d", "<f2"), ("qs", "u1", (8, 4)), ("signs", "u1", (32,)), ("qh", "u1", (8,)), ("scales", "u1", (8,))]
)
IQ3_XXS = np.dtype([("d", "<f2"), ("qs", "u1", (64,)), ("rest", "<u4", (8,))])
IQ3_S = np.dtype(
    [("d", "<f2"), ("qs", "u1", (8, 8)), ("qh", "u1", (8,)), ("signs", "u1", (32,)), ("scales", "u1", (4,))]
)
TQ1_0 = np.dtype([("fives", "u1", (32,)), ("more", "u1", (16,)), ("fours", "u1", (4,)), ("d", "<f2")])
TQ2_0 = np.dtype([("qs", "u1", (2, 1, 32)), ("d", "<f2")])
NVFP4 = np.dtype([("d", "u1", (4,)), ("qs", "u1", (4, 8))])
Q1_0 = np.dtype([("d", "<f2"), ("qs", "u1", (16,))])
Q2_0 = np.dtype([("d", "<f2"), ("qs", "u1", (16,))])

_PAIRS = np.array([0, 2, 4, 6], np.uint8)
_NIBBLES = np.array([0, 4], np.uint8)
_BITS = np.arange(8, dtype=np.uint8)
_SEVENS = np.array([0, 7, 14, 21], np.uint32)
_THREES = np.array([0, 3, 6, 9], np.uint16)


def scaled(decode: Decoder) -> Kernel:
    """Returns the kernel that multiplies elements with their scales."""

    def kernel(blocks: NDArray[np.void], out: NDArray[np.float32]) -> None:
        elements, scales = decode(blocks)
        groups = out.reshape(*scales.shape, -1)
        np.multiply(elements.reshape(groups.shape), scales[..., None], out=groups)

    return kernel


def q8_1(blocks: NDArray[np.void]) -> Decoded:
    """`d * q`; the stored sum is for products. A type of activations."""
    return blocks["qs"], _d(blocks)


def q8_k(blocks: NDArray[np.void]) -> Decoded:
    """`d * q`; the stored sums are for products. A type of activations."""
    return blocks["qs"], _d(blocks)


def iq1_s(blocks: NDArray[np.void]) -> Decoded:
    """`d * (2 * scale + 1) * (v ± 1/8)`; vectors of 8 by 11 bits, 3 bits of scale and a sign for 32."""
    high = blocks["qh"]
    index = blocks["qs"] | (high[..., None] >> _THREES & 7) << 8
    elements = _with_eighths(code_book("IQ1_S")[index], (high >> 15)[..., None, None])
    return elements.reshape(len(blocks), 256), _d(blocks) * (2 * (high >> 12 & 7) + 1) * np.float32(0.125)


def iq1_m(blocks: NDArray[np.void]) -> Decoded:
    """IQ1_S with scales for 16 and signs for 8 elements; four nibbles of the scales are the bits of d."""
    scales = blocks["scales"]
    nibbles = (scales >> 12).astype(np.uint16) << np.array([0, 4, 8, 12], np.uint16)
    d = np.bitwise_or.reduce(nibbles, axis=1).astype(np.uint16).view(np.float16).astype(np.float32)[:, None]
    codes = blocks["qh"][..., None] >> _NIBBLES & 15
    index = blocks["qs"] | (codes & 7).astype(np.uint16) << 8
    elements = _with_eighths(code_book("IQ1_S")[index], (codes >> 3)[..., None])
    whole = (scales[..., None] >> _THREES & 7).reshape(-1, 16)
    return elements.reshape(len(blocks), 256), d * (2 * whole + 1) * np.float32(0.125)


def iq2_xxs(blocks: NDArray[np.void]) -> Decoded:
    """`d * (1/2 + scale) / 4 * v`; vectors of 8 by 8 bits with 7 of signs, 4 of scale for 32 elements."""
    codes = blocks["codes"]
    rest = codes["rest"]
    elements = code_book("IQ2_XXS")[codes["qs"]] * signs()[rest[..., None] >> _SEVENS & 127]
    return elements.reshape(len(blocks), 256), _halves(blocks, rest >> 28) * np.float32(0.125)


def iq2_xs(blocks: NDArray[np.void]) -> Decoded:
    """`d * (1/2 + scale) / 4 * v`; vectors of 8 by 9 bits with 7 of signs, 4 of scale for 16 elements."""
    codes = blocks["qs"]
    elements = code_book("IQ2_XS")[codes & 511] * signs()[codes >> 9]
    scales = (blocks["scales"][..., None] >> _NIBBLES & 15).reshape(-1, 16)
    return elements.reshape(len(blocks), 256), _halves(blocks, scales) * np.float32(0.125)


def iq2_s(blocks: NDArray[np.void]) -> Decoded:
    """`d * (1/2 + scale) / 4 * v`; vectors of 8 by 10 bits, a bit for each sign, 4 of scale for 16."""
    index = blocks["qs"] | (blocks["qh"][..., None] >> _PAIRS & 3).astype(np.uint16) << 8
    elements = code_book("IQ2_S")[index].reshape(len(blocks), 256) * _by_bits(blocks["signs"])
    scales = (blocks["scales"][..., None] >> _NIBBLES & 15).reshape(-1, 16)
    return elements, _halves(blocks, scales) * np.float32(0.125)


def iq3_xxs(blocks: NDArray[np.void]) -> Decoded:
    """`d * (1/2 + scale) / 2 * v`; vectors of 4 by 8 bits; 7 bits of signs for 8, 4 of scale for 32."""
    rest = blocks["rest"]
    of_8 = signs()[rest[..., None] >> _SEVENS & 127].reshape(len(blocks), 256)
    elements = code_book("IQ3_XXS")[blocks["qs"]].reshape(len(blocks), 256) * of_8
    return elements, _halves(blocks, rest >> 28) * np.float32(0.25)


def iq3_s(blocks: NDArray[np.void]) -> Decoded:
    """`d * (1 + 2 * scale) * v`; vectors of 4 by 9 bits, a bit for each sign, 4 of scale for 32."""
    index = blocks["qs"] | (blocks["qh"][..., None] >> _BITS & 1).astype(np.uint16) << 8
    elements = code_book("IQ3_S")[index].reshape(len(blocks), 256) * _by_bits(blocks["signs"])
    return elements, _halves(blocks, (blocks["scales"][..., None] >> _NIBBLES & 15).reshape(-1, 8))


def tq1_0(blocks: NDArray[np.void]) -> Decoded:
    """`d * (digit - 1)`; a byte is a fraction with five digits to base 3, or four in the last 4 bytes."""
    n = len(blocks)
    digits = [_digits(blocks[name], count) for name, count in (("fives", 5), ("more", 5), ("fours", 4))]
    return np.concatenate([part.reshape(n, -1) for part in digits], axis=1), _d(blocks)


def tq2_0(blocks: NDArray[np.void]) -> Decoded:
    """`d * (q - 1)` with 2 bits, as those of Q2_K lie."""
    return _less_one((blocks["qs"] >> _PAIRS[:, None] & 3).reshape(len(blocks), 256)), _d(blocks)


def nvfp4(blocks: NDArray[np.void]) -> Decoded:
    """`d / 2 * v`, v twice a number of E2M1 (`FP4_VALUES`); d of 16 is an unsigned E4M3, 0x7F is 0."""
    stored = blocks["d"]
    exponent, mantissa = (stored >> 3 & 15).astype(np.int32), (stored & 7).astype(np.float32)
    normal = np.ldexp(8 + mantissa, exponent - 11)
    d = np.where(exponent == 0, mantissa * np.float32(2**-10), normal).astype(np.float32)
    d[stored == 127] = 0
    codes = np.concatenate([blocks["qs"] & 15, blocks["qs"] >> 4], axis=-1)
    return FP4_VALUES.astype(np.int8)[codes].reshape(len(blocks), 64), d


def q1_0(blocks: NDArray[np.void]) -> Decoded:
    """`d` where a bit is 1, else `-d`."""
    return -_by_bits(blocks["qs"]), _d(blocks)


def q2_0(blocks: NDArray[np.void]) -> Decoded:
    """`d * (q - 1)` with 2 bits, four elements in a byte, from the lowest bits on."""
    return _less_one((blocks["qs"][..., None] >> _PAIRS & 3).reshape(len(blocks), 64)), _d(blocks)


def _d(blocks: NDArray[np.void]) -> NDArray[np.float32]:
    scales: NDArray[np.float32] = blocks["d"].astype(np.float32)[:, None]
    return scales


def _halves(blocks: NDArray[np.void], scales: NDArray[Any]) -> NDArray[np.float32]:
    """`d * (2 * scale + 1)`."""
    return _d(blocks) * (2 * scales.astype(np.float32) + 1)


def _with_eighths(vectors: NDArray[np.int8], minus: NDArray[Any]) -> NDArray[np.int8]:
    """Eight times `v + 1/8`, or, where `minus` is 1, `v - 1/8`."""
    return vectors * np.int8(8) + (1 - 2 * minus.astype(np.int8))


def _by_bits(stored: NDArray[np.uint8]) -> NDArray[np.int8]:
    """A sign for each bit: -1 where it is 1."""
    bits = np.unpackbits(np.ascontiguousarray(stored), axis=1, bitorder="little")
    return 1 - 2 * bits.view(np.int8)


def _less_one(q: NDArray[Any]) -> NDArray[np.int8]:
    return q.astype(np.int8) - np.int8(1)


def _digits(stored: NDArray[np.uint8], count: int) -> NDArray[np.int8]:
    """The first `count` digits to base 3 of bytes `[blocks, bytes]`, less one: `[blocks, count, bytes]`."""
    powers = np.array([3**i for i in range(count)], np.uint8)[:, None]
    fractions = stored[:, None] * powers  # modulo 256: without the digits before
    return _less_one((fractions.astype(np.uint16) * 3 >> 8).astype(np.uint8))
