"""How a tensor's elements are stored: block layouts and their dequantisers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_core.errors import ShapeError

Dequantizer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class DType:
    """A storage type: `block_size` consecutive elements of a row lie in `block_bytes` bytes.

    `dequantize` takes uint8 `[blocks, block_bytes]` and gives float32 `[blocks, block_size]`.
    A format may bring a type of its own: it makes a `DType` and hands it out in its `TensorInfo`s.
    """

    name: str
    block_size: int
    block_bytes: int
    dequantize: Dequantizer

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that a tensor of `shape` takes; `ShapeError` where a row is no whole number of blocks."""
        if shape and shape[-1] % self.block_size:
            raise ShapeError(f"a row of {shape[-1]} elements is not a multiple of {self.name}'s {self.block_size}")
        return math.prod(shape) // self.block_size * self.block_bytes

    def to_float32(self, data: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Dequantise flat uint8 `data` into float32 of `shape`."""
        return self.dequantize(data.reshape(-1, self.block_bytes)).reshape(shape)
