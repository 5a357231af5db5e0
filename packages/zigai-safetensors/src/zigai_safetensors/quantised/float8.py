"""Weights in F8_E4M3 with scales for blocks, as BF16.

E4M3 ("e4m3fn") has four bits of exponent with bias 7, three of mantissa, no infinities, and NaN as 0x7F and
0xFF: https://arxiv.org/abs/2209.05433, table 1. The weight is `e4m3 * scale` in float32, rounded to BF16 to
nearest even, as fp8_cast_bf16.py and `weight_dequant` of https://github.com/deepseek-ai/DeepSeek-V3 give it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import ComputedTensor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, quote
from zigai_safetensors.quantised.parts import VERSION, check_row

_CHUNK = 1 << 16
"""Elements that are computed at a time: 256 KiB of float32, which fit into a core's cache."""


def e4m3_values() -> NDArray[np.float32]:
    """The values of the 256 bytes; NaN for 0x7F and 0xFF."""
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    sizes = np.where(
        exponent == 0,
        np.ldexp(mantissa.astype(np.float32), -9),
        np.ldexp(1 + mantissa.astype(np.float32) / 8, exponent - 7),
    )
    sizes[(byte & 127) == 127] = np.nan
    return np.where(byte < 128, sizes, -sizes).astype(np.float32)


_VALUES = e4m3_values()


def scaled(
    name: str, weight: TensorInfo, scale: TensorInfo, block: tuple[int, int], where: str
) -> ComputedTensor:
    """Returns the BF16 tensor `name` of `weight` [..., o, i] with a scale for each block of rows and columns.

    `scale` has shape [..., ceil(o / block[0]), ceil(i / block[1])], or one number for all; the caller has
    checked shapes and types. When computed: `FormatError`, which `where` begins, for a NaN in the weight, a
    scale that is not finite, and a product beyond the range of BF16.
    """
    rows, width = weight.shape[-2:]
    check_row(width, where)
    high, wide = (rows, width) if scale.shape == (1,) else block
    across, down = -(-width // wide), -(-rows // high)
    single = scale.shape == (1,)

    def compute(start: int, stop: int) -> NDArray[np.uint8]:
        out = np.empty((stop - start, width), "<u2")
        step = max(1, _CHUNK // width)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            stored = weight.copy_rows(first, last).reshape(-1, width)
            row = np.arange(first, last)
            line = np.zeros_like(row) if single else row // rows * down + row % rows // high
            lines = scale.copy_rows(int(line[0]), int(line[-1]) + 1)
            of_lines = scale.dtype.to_float32(lines, (int(line[-1] - line[0]) + 1, across))
            of_rows = of_lines[line - line[0]]
            if not np.isfinite(of_rows).all():
                raise FormatError(f"{where}: a scale of {quote(name)} is infinite or NaN")
            values = np.take(_VALUES, stored)  # twice as fast as an index
            if np.isnan(values).any():
                raise FormatError(f"{where}: {quote(name)} holds NaN: it is damaged; download it again")
            factors = np.repeat(of_rows, wide, axis=1)[:, :width] if across > 1 else of_rows
            with np.errstate(over="ignore"):
                values *= factors
            bits = DTYPES["BF16"].from_float32(values).view("<u2").reshape(values.shape)
            if ((bits & 0x7F80) == 0x7F80).any():
                raise FormatError(f"{where}: a product of {quote(name)} and its scale is too large for BF16")
            out[first - start : last - start] = bits
        return out.reshape(-1).view(np.uint8)

    how = f"F8_E4M3 by blocks of {high} x {wide} to BF16, version {VERSION}"
    return ComputedTensor(name, weight.shape, DTYPES["BF16"], (weight, scale), compute, how)


def scale_shape(shape: tuple[int, ...], block: tuple[int, int]) -> tuple[int, ...]:
    """The shape of the scales of a weight [..., o, i] for blocks of rows and columns."""
    return (*shape[:-2], math.ceil(shape[-2] / block[0]), math.ceil(shape[-1] / block[1]))
