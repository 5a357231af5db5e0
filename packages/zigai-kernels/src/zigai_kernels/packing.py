"""Packings: the layouts of weights in memory that the kernels read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import ShapeError
from zigai_kernels.storage import CONVERTED, STORAGE, Storage

AS_STORED = "as in the file"
PANELS = "panels of 16 rows"
FIXED_PANELS = "int16 panels of 16 rows"
FLOAT_PANELS = "F32 panels of 16 rows"
FLOATS = "converted to F32"

PANEL_ROWS = 16
"""Rows of a panel: `PANEL` in panels.c."""


@dataclass(frozen=True, eq=False)
class Packing:
    """The layout of a tensor for a kernel, chosen by lowering and carried out by `Packer`."""

    tensor: TensorInfo
    kernel: str
    form: str
    """`AS_STORED`, `PANELS`, `FIXED_PANELS`, `FLOAT_PANELS` or `FLOATS`."""

    @property
    def in_panels(self) -> bool:
        """True if the tensor is copied into panels."""
        return self.form in (PANELS, FIXED_PANELS, FLOAT_PANELS)

    @property
    def storage(self) -> Storage:
        """The type that the kernel reads."""
        return STORAGE["F32" if self.form in (FLOATS, FLOAT_PANELS) else self.tensor.dtype.name]


def pack_rows(tensor: TensorInfo) -> Packing:
    """The packing of a matrix whose rows are looked up: the mapped file itself, or a converted copy."""
    if tensor.dtype.name in CONVERTED:
        return Packing(tensor, "embedding_f32", FLOATS)
    return Packing(tensor, f"embedding_{tensor.dtype.name.lower()}", AS_STORED)


def pack_panels(tensor: TensorInfo, kernel: str) -> Packing:
    """The packing of a matrix, or a stack of matrices, for products: panels of 16 rows (panels.c)."""
    if tensor.dtype.name in CONVERTED:
        return Packing(tensor, f"{kernel}_f32", FLOAT_PANELS)
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
