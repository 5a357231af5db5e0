"""Packings: the layouts of weights in memory that the kernels read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import ShapeError

AS_STORED = "as in the file"
PANELS = "panels of 16 rows"
FIXED_PANELS = "int16 panels of 16 rows"
FLOATS = "converted to F32"

PANEL_ROWS = 16
"""Rows of a panel: `PANEL` in panels.c."""


@dataclass(frozen=True)
class Storage:
    """A storage type that the kernels read. Its index in `STORAGE` is its number in C (`enum zg_type`)."""

    name: str
    block_size: int
    block_bytes: int
    activations: str
    """The type of activations in its dot products: `F32`, or rounded to `INT8` or `INT16`."""


STORAGE = {
    storage.name: storage
    for storage in (
        Storage("F32", 1, 4, "F32"),
        Storage("F16", 1, 2, "INT16"),
        Storage("BF16", 1, 2, "INT16"),
        Storage("Q4_0", 32, 18, "INT8"),
        Storage("Q4_1", 32, 20, "INT8"),
        Storage("Q5_0", 32, 22, "INT8"),
        Storage("Q5_1", 32, 24, "INT8"),
        Storage("Q8_0", 32, 34, "INT8"),
        Storage("Q2_K", 256, 84, "INT8"),
        Storage("Q3_K", 256, 110, "INT8"),
        Storage("Q4_K", 256, 144, "INT8"),
        Storage("Q5_K", 256, 176, "INT8"),
        Storage("Q6_K", 256, 210, "INT8"),
        Storage("IQ4_NL", 32, 18, "INT8"),
        Storage("IQ4_XS", 256, 136, "INT8"),
        Storage("MXFP4", 32, 17, "INT8"),
        Storage("NVFP4", 64, 36, "INT8"),
        Storage("Q1_0", 128, 18, "INT8"),
        Storage("Q2_0", 64, 18, "INT8"),
        Storage("TQ1_0", 256, 54, "INT8"),
        Storage("TQ2_0", 256, 66, "INT8"),
        Storage("IQ1_S", 256, 50, "INT8"),
        Storage("IQ1_M", 256, 56, "INT8"),
        Storage("IQ2_XXS", 256, 66, "INT8"),
        Storage("IQ2_XS", 256, 74, "INT8"),
        Storage("IQ2_S", 256, 82, "INT8"),
        Storage("IQ3_XXS", 256, 98, "INT8"),
        Storage("IQ3_S", 256, 110, "INT8"),
        Storage("Q8_1", 32, 36, "INT8"),
        Storage("Q8_K", 256, 292, "INT8"),
    )
}
CODES = {name: code for code, name in enumerate(STORAGE)}


@dataclass(frozen=True, eq=False)
class Packing:
    """The layout of a tensor for a kernel, chosen by lowering and carried out by `Packer`."""

    tensor: TensorInfo
    kernel: str
    form: str
    """`AS_STORED`, `PANELS`, `FIXED_PANELS` or `FLOATS`."""

    @property
    def in_panels(self) -> bool:
        """True if the tensor is copied into panels."""
        return self.form in (PANELS, FIXED_PANELS)


def storage_of(tensor: TensorInfo) -> Storage | None:
    """The `Storage` of a tensor; None if the kernels do not read its type, or one of that name differs."""
    storage, dtype = STORAGE.get(tensor.dtype.name), tensor.dtype
    if storage and (storage.block_size, storage.block_bytes) == (dtype.block_size, dtype.block_bytes):
        return storage
    return None


def pack_rows(tensor: TensorInfo) -> Packing:
    """The packing of a matrix whose rows are looked up: the mapped file itself."""
    return Packing(tensor, f"embedding_{tensor.dtype.name.lower()}", AS_STORED)


def pack_panels(tensor: TensorInfo, kernel: str) -> Packing:
    """The packing of a matrix, or a stack of matrices, for products: panels of 16 rows (panels.c)."""
    form = FIXED_PANELS if STORAGE[tensor.dtype.name].activations == "INT16" else PANELS
    return Packing(tensor, f"{kernel}_{tensor.dtype.name.lower()}", form)


def pack_vector(tensor: TensorInfo, kernel: str) -> Packing:
    """The packing of a norm's weight or a bias: float32, a view of the file if it is stored so.

    `ShapeError` for wrong bytes.
    """
    data = stored_bytes(tensor)
    plain = tensor.dtype.name == "F32" and np.shares_memory(tensor.to_float32(), data)
    return Packing(tensor, kernel, AS_STORED if plain else FLOATS)


def stored_bytes(tensor: TensorInfo) -> NDArray[np.uint8]:
    """The tensor's bytes. `ShapeError` for wrong ones, `FormatError` if the file has been cut short."""
    tensor.check_file()
    check_size(tensor)
    return contiguous(tensor, tensor.data)


def check_size(tensor: TensorInfo) -> None:
    """Raises `ShapeError` unless the tensor has the bytes that its type and shape take."""
    expected = tensor.dtype.nbytes(tensor.shape)
    if tensor.nbytes != expected:
        raise ShapeError(
            f"{tensor.name}: {tensor.dtype.name} of shape {tensor.shape} takes {expected} contiguous bytes, "
            f"not {tensor.nbytes}"
        )


def contiguous(tensor: TensorInfo, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns `data`, bytes of the tensor; raises `ShapeError` unless they are contiguous."""
    if data.dtype != np.uint8 or data.ndim != 1 or not data.flags.c_contiguous:
        raise ShapeError(
            f"{tensor.name}: its data must be contiguous bytes, not {data.dtype} of shape {data.shape}"
        )
    return data
