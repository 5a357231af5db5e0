"""Storage types: `DType`, how a tensor's elements are stored, and `DTYPES`, those of GGUF files by name."""

from zigai_core.contracts.dtypes.dtype import DType
from zigai_core.contracts.dtypes.table import DTYPES

__all__ = ["DTYPES", "DType"]
