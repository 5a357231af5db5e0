"""How weights lie in memory for their kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.descriptor import TensorInfo
from zigai_core.errors import ShapeError


@dataclass(frozen=True)
class Storage:
    """A storage type that the kernels read; its place in `STORAGE` is its number in C (`enum zg_type`)."""

    name: str
    block_size: int
    block_bytes: int
    integer: bool
    """Whether its dot products are with int8 activations; those of the others are with float32."""


STORAGE = {
    storage.name: storage
    for storage in (
        Storage("F32", 1, 4, False),
        Storage("F16", 1, 2, False),
        Storage("BF16", 1, 2, False),
        Storage("Q4_0", 32, 18, True),
        Storage("Q4_1", 32, 20, True),
        Storage("Q5_0", 32, 22, True),
        Storage("Q5_1", 32, 24, True),
        Storage("Q8_0", 32, 34, True),
        Storage("Q4_K", 256, 144, True),
        Storage("Q5_K", 256, 176, True),
        Storage("Q6_K", 256, 210, True),
    )
}
CODES = {name: code for code, name in enumerate(STORAGE)}


@dataclass(frozen=True, eq=False)
class Packed:
    """A weight as its kernel reads it. `data` is kept for as long as the program lives."""

    data: NDArray[Any]
    kernel: str
    packing: str
    stride: int = 0
    """Bytes from one row to the next."""

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return int(self.data.nbytes)


def storage_of(tensor: TensorInfo) -> Storage | None:
    """The kernels' name for a tensor's storage type; None where they do not know it, or know another."""
    storage, dtype = STORAGE.get(tensor.dtype.name), tensor.dtype
    if storage and (storage.block_size, storage.block_bytes) == (dtype.block_size, dtype.block_bytes):
        return storage
    return None


def pack_matrix(tensor: TensorInfo, kernel: str, instruction_set: str) -> Packed:
    """The packing hook: a matrix laid out for `kernel` (`linear` or `embedding`) on an instruction set.

    All kernels of today read rows of blocks as the file has them, so this is a view of the mapped file.
    A kernel that wants another layout gets it here, and reads it by the record's `weight` and `stride`.
    """
    del instruction_set  # the same for all as yet
    _check_bytes(tensor)
    name = f"{kernel}_{tensor.dtype.name.lower()}"
    return Packed(tensor.data, name, "as in the file", tensor.dtype.nbytes(tensor.shape[-1:]))


def pack_vector(tensor: TensorInfo, kernel: str) -> Packed:
    """A norm's weight or a bias: float32, a view of the file where it is so there."""
    _check_bytes(tensor)
    data = np.ascontiguousarray(tensor.to_float32(), dtype=np.float32)
    plain = tensor.dtype.name == "F32" and np.shares_memory(data, tensor.data)
    return Packed(data, kernel, "as in the file" if plain else "converted to F32")


def _check_bytes(tensor: TensorInfo) -> None:
    data, expected = tensor.data, tensor.dtype.nbytes(tensor.shape)
    if data.dtype != np.uint8 or data.ndim != 1 or not data.flags.c_contiguous or data.nbytes != expected:
        raise ShapeError(
            f"{tensor.name}: {tensor.dtype.name} of shape {tensor.shape} takes {expected} contiguous bytes, "
            f"not {data.nbytes} of {data.dtype} {data.shape}"
        )
