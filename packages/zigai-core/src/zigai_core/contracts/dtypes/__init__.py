"""Storage types: `DType`, which says how a tensor's elements are stored, and `DTYPES`, those that core has.

Packages register more under the entry point `zigai.dtypes`: see `zigai_core.contracts.plugins`.
"""

from zigai_core.contracts.dtypes.dtype import DType
from zigai_core.contracts.dtypes.table import DTYPES

__all__ = ["DTYPES", "DType"]
