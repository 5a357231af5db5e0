"""A tensor to be written to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES, DType
from zigai_core.contracts.dtypes.quantize import Quantizer
from zigai_core.contracts.errors import FormatError, ShapeError, quote
from zigai_gguf import limits
from zigai_gguf.tensor_types import TYPE_IDS

_CHUNK = 1 << 20
"""Elements converted at a time."""

_PLAIN_TYPES = {
    "f4": "F32",
    "f2": "F16",
    "f8": "F64",
    "i1": "I8",
    "i2": "I16",
    "i4": "I32",
    "i8": "I64",
}
"""Tensor types that store elements of a numpy type unchanged."""

_ROUNDED = {name: quantize for name in ("F32", "F16", "BF16") if (quantize := DTYPES[name].quantize)}
"""Types that floats of any width are rounded to."""


@dataclass(frozen=True, eq=False)
class TensorData:
    """Shape (in numpy's order), storage type and bytes of a tensor.

    `chunks` is called when the tensor is written. It yields one-dimensional uint8 arrays of
    `dtype.nbytes(shape)` bytes in total, so a tensor need not be in memory as a whole.
    """

    shape: tuple[int, ...]
    dtype: DType
    chunks: Callable[[], Iterable[NDArray[np.uint8]]]

    @classmethod
    def of(cls, tensor: NDArray[Any] | TensorInfo | TensorData) -> TensorData:
        """Returns the data of an array in its own type, or of a tensor of another file."""
        if isinstance(tensor, TensorData):
            return tensor
        if isinstance(tensor, TensorInfo):
            return cls.from_bytes(tensor.data, tensor.shape, tensor.dtype)
        return cls.from_array(tensor)

    @classmethod
    def from_array(cls, array: NDArray[Any], dtype: str | None = None) -> TensorData:
        """Returns the data of an array in its own type, or rounded to `dtype`: F32, F16 or BF16.

        Raises `FormatError` for a type that GGUF lacks and, when the data is written, for a number too large
        for `dtype`.
        """
        name = dtype or _PLAIN_TYPES.get(array.dtype.str[1:])
        if name is None or (dtype is not None and (dtype not in _ROUNDED or array.dtype.kind != "f")):
            raise FormatError(f"an array of {array.dtype} cannot be stored as {dtype or 'a GGUF tensor'}")
        if name == _PLAIN_TYPES.get(array.dtype.str[1:]):
            stored = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            return cls.from_bytes(stored.reshape(-1).view(np.uint8), array.shape, DTYPES[name])
        return cls(array.shape, DTYPES[name], lambda: _rounded(array, _ROUNDED[name]))

    @classmethod
    def from_bytes(cls, data: NDArray[np.uint8] | bytes, shape: tuple[int, ...], dtype: DType) -> TensorData:
        """Returns the data of bytes that are already stored as `dtype`.

        Raises `ShapeError` if `shape` takes another number of bytes.
        """
        stored = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
        if stored.ndim != 1 or stored.dtype != np.uint8 or stored.size != dtype.nbytes(shape):
            raise ShapeError(
                f"{dtype.name} of shape {shape} takes {dtype.nbytes(shape)} bytes, but {stored.nbytes} were "
                "given"
            )
        return cls(shape, dtype, lambda: [stored])

    def check(self, name: str) -> None:
        """Checks that GGUF can store the tensor.

        Raises `FormatError` for a type or shape that GGUF does not have, `ShapeError` if a row is not a whole
        number of blocks.
        """
        if self.dtype.name not in TYPE_IDS:
            raise FormatError(f"tensor {quote(name)}: GGUF has no tensor type {self.dtype.name}")
        if not 1 <= len(self.shape) <= limits.DIMENSIONS or min(self.shape) < 1 or max(self.shape) >> 63:
            raise FormatError(
                f"tensor {quote(name)} has shape {self.shape}; GGUF stores 1 to {limits.DIMENSIONS} "
                "dimensions, each at least 1"
            )
        self.dtype.nbytes(self.shape)


def _rounded(array: NDArray[Any], quantize: Quantizer) -> Iterator[NDArray[np.uint8]]:
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        yield quantize(flat[start : start + _CHUNK]).reshape(-1)
