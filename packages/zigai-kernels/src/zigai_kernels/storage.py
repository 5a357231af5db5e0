"""The storage types of weights that the kernels read."""

from __future__ import annotations

from dataclasses import dataclass

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES


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

CONVERTED = frozenset({"F64", "I8", "I16", "I32", "I64"})
"""Types that are converted to F32 at load: numbers beyond its range become infinities, and integers above
2^24 are rounded, as by the numpy reference."""


def storage_of(tensor: TensorInfo) -> Storage | None:
    """The `Storage` that the kernels read a matrix as: that of its type, or F32 if it is converted.

    None if there is no kernel for the type, or one of that name differs from core's.
    """
    dtype = tensor.dtype
    if dtype.name in CONVERTED:
        return STORAGE["F32"] if dtype == DTYPES[dtype.name] else None
    storage = STORAGE.get(dtype.name)
    if storage and (storage.block_size, storage.block_bytes) == (dtype.block_size, dtype.block_bytes):
        return storage
    return None
