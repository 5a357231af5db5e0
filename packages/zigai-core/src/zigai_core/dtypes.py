"""How a tensor's elements are stored: `DType`, and the types that GGUF files hold, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from zigai_core import dequantize
from zigai_core.dequantize import Dequantizer, Kernel
from zigai_core.errors import ShapeError


@dataclass(frozen=True)
class DType:
    """A storage type: `block_size` consecutive elements of a row lie in `block_bytes` bytes.

    `dequantize` takes uint8 `[blocks, block_bytes]` and gives float32 `[blocks, block_size]`.
    A format may bring a type of its own: it makes a `DType` and hands it out in its `TensorInfo`s.

    >>> DTYPES["Q4_0"].nbytes((2, 64))
    72
    """

    name: str
    block_size: int
    block_bytes: int
    dequantize: Dequantizer

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that a tensor of `shape` takes; `ShapeError` where a row is no whole number of blocks."""
        row = shape[-1] if shape else 1
        if row % self.block_size:
            raise ShapeError(f"a row of {row} elements is not a multiple of {self.name}'s {self.block_size}")
        return math.prod(shape) // self.block_size * self.block_bytes

    def to_float32(self, data: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Dequantise flat uint8 `data` into float32 of `shape`. A copy, except for aligned F32.

        `ShapeError` where `data` does not hold exactly the bytes that `shape` takes.
        """
        expected = self.nbytes(shape)
        if data.size != expected:
            raise ShapeError(
                f"{self.name} of shape {shape} takes {expected} bytes, but {data.size} are given"
            )
        return self.dequantize(data.reshape(-1, self.block_bytes)).reshape(shape)


def _plain(name: str, stored: str) -> DType:
    return DType(name, 1, np.dtype(stored).itemsize, dequantize.plain(stored))


def _quantised(name: str, block_size: int, layout: np.dtype[np.void], kernel: Kernel) -> DType:
    return DType(name, block_size, layout.itemsize, dequantize.blockwise(layout, block_size, kernel))


DTYPES: Mapping[str, DType] = MappingProxyType(
    {
        dtype.name: dtype
        for dtype in (
            _plain("F32", "<f4"),
            _plain("F16", "<f2"),
            DType("BF16", 1, 2, dequantize.bf16),
            _plain("F64", "<f8"),
            _plain("I8", "<i1"),
            _plain("I16", "<i2"),
            _plain("I32", "<i4"),
            _plain("I64", "<i8"),
            _quantised("Q4_0", 32, dequantize.Q4_0, dequantize.q4_0),
            _quantised("Q4_1", 32, dequantize.Q4_1, dequantize.q4_1),
            _quantised("Q5_0", 32, dequantize.Q5_0, dequantize.q5_0),
            _quantised("Q5_1", 32, dequantize.Q5_1, dequantize.q5_1),
            _quantised("Q8_0", 32, dequantize.Q8_0, dequantize.q8_0),
            _quantised("Q2_K", 256, dequantize.Q2_K, dequantize.q2_k),
            _quantised("Q3_K", 256, dequantize.Q3_K, dequantize.q3_k),
            _quantised("Q4_K", 256, dequantize.Q4_K, dequantize.q4_k),
            _quantised("Q5_K", 256, dequantize.Q5_K, dequantize.q5_k),
            _quantised("Q6_K", 256, dequantize.Q6_K, dequantize.q6_k),
        )
    }
)
"""Storage types by their names in ggml (`ggml.h`, `enum ggml_type`); it cannot be changed."""
