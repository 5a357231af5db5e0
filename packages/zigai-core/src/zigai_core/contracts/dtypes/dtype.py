"""`DType`: how the elements of a tensor are stored."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.dtypes.dequantize import Dequantizer
from zigai_core.contracts.errors import ShapeError, UnsupportedError


@dataclass(frozen=True)
class DType:
    """A storage type: `block_size` consecutive elements of a row lie in `block_bytes` bytes.

    `dequantize` takes uint8 `[blocks, block_bytes]` and gives float32 `[blocks, block_size]`. None stands for
    a layout alone: such a tensor can be listed and copied, and read where an installed package brings the
    type (entry point `zigai.dtypes`).

    >>> from zigai_core.contracts.dtypes import DTYPES
    >>> DTYPES["Q4_0"].nbytes((2, 64))
    72
    """

    name: str
    block_size: int
    block_bytes: int
    dequantize: Dequantizer | None

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that a tensor of `shape` takes; `ShapeError` where a row is no whole number of blocks."""
        row = shape[-1] if shape else 1
        if row % self.block_size:
            raise ShapeError(f"a row of {row} elements is not a multiple of {self.name}'s {self.block_size}")
        return math.prod(shape) // self.block_size * self.block_bytes

    def to_float32(self, data: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Dequantise flat uint8 `data` into float32 of `shape`. A copy, except for aligned F32.

        `ShapeError` where `data` does not hold exactly the bytes that `shape` takes, `UnsupportedError` where
        there is no dequantiser.
        """
        if self.dequantize is None:
            raise UnsupportedError(
                f"no dequantiser is installed for tensor type {self.name}; use a file with tensors of other "
                "types, or install a package that brings it (entry point zigai.dtypes)"
            )
        expected = self.nbytes(shape)
        if data.size != expected:
            raise ShapeError(
                f"{self.name} of shape {shape} takes {expected} bytes, but {data.size} are given"
            )
        return self.dequantize(data.reshape(-1, self.block_bytes)).reshape(shape)
