"""`DType`: how the elements of a tensor are stored."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.dtypes.dequantize import Dequantizer
from zigai_core.contracts.dtypes.quantize import CHUNK, Quantizer
from zigai_core.contracts.errors import ShapeError, UnsupportedError


@dataclass(frozen=True)
class DType:
    """A storage type: `block_size` consecutive elements of a row are stored in `block_bytes` bytes.

    `dequantize` converts uint8 `[blocks, block_bytes]` to float32 `[blocks, block_size]`. A format that knows
    only the layout of a type sets it to None: tensors of the type can then be listed and copied, but not
    computed with, unless an installed package registers the type (entry point `zigai.dtypes`).

    `quantize` converts float32 `[blocks, block_size]` to uint8 `[blocks, block_bytes]`, or raises
    `FormatError` for a number that the type cannot store. None if there is no encoder for the type.

    >>> from zigai_core.contracts.dtypes import DTYPES
    >>> DTYPES["Q4_0"].nbytes((2, 64))
    72
    """

    name: str
    block_size: int
    block_bytes: int
    dequantize: Dequantizer | None
    quantize: Quantizer | None = None

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Returns the bytes of a tensor of `shape`. Raises `ShapeError` if a row is not whole blocks."""
        row = shape[-1] if shape else 1
        if row % self.block_size:
            raise ShapeError(
                f"a row of {row} elements is not a whole number of {self.name} blocks, {self.block_size} each"
            )
        return math.prod(shape) // self.block_size * self.block_bytes

    def to_float32(self, data: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Dequantises one-dimensional uint8 `data` to float32 of `shape`. A copy, except for aligned F32.

        Raises `ShapeError` if `data` does not have `nbytes(shape)` bytes, `UnsupportedError` if the type has
        no dequantiser.
        """
        if self.dequantize is None:
            raise UnsupportedError(
                f"no dequantiser is installed for tensor type {self.name}; use a file with tensors of other "
                "types, or install a package that provides it (entry point zigai.dtypes)"
            )
        expected = self.nbytes(shape)
        if data.size != expected:
            raise ShapeError(
                f"a {self.name} tensor of shape {shape} takes {expected} bytes, but there are {data.size}"
            )
        return self.dequantize(data.reshape(-1, self.block_bytes)).reshape(shape)

    def from_float32(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Encodes float32 `[..., width]` as one-dimensional uint8 of `nbytes(values.shape)` bytes.

        Raises `FormatError` for a number that the type cannot store, too large or, except in F32, F16 and
        BF16, not finite; `ShapeError` if a row is not whole blocks; `UnsupportedError` if the type has no
        encoder.

        >>> from zigai_core.contracts.dtypes import DTYPES
        >>> DTYPES["F16"].from_float32(np.array([1, -2], np.float32))
        array([  0,  60,   0, 192], dtype=uint8)
        """
        if self.quantize is None:
            raise UnsupportedError(f"tensors cannot be encoded as {self.name}: the type has no encoder here")
        stored = np.empty(self.nbytes(values.shape), np.uint8).reshape(-1, self.block_bytes)
        blocks = np.ascontiguousarray(values, np.float32).reshape(-1, self.block_size)
        step = max(1, CHUNK // self.block_size)
        for start in range(0, len(blocks), step):
            stored[start : start + step] = self.quantize(blocks[start : start + step])
        return stored.reshape(-1)
