"""The types of GGUF's metadata values.

Source: GGUF's specification (ggml, docs/gguf.md), `enum gguf_metadata_value_type`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Any

import numpy as np


class ValueType(IntEnum):
    """Type of a metadata value; the number is the type id in the file."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


@dataclass(frozen=True, eq=False)
class Typed:
    """A metadata value with an explicit type; for a list or an array, the type of the elements.

    >>> Typed(ValueType.UINT8, 5)
    Typed(type=<ValueType.UINT8: 0>, value=5)
    """

    type: ValueType
    value: Any


class NestedArray(tuple[Any, ...]):
    """An array whose elements are arrays, each with an element type of its own, as the reader returns it."""

    __slots__ = ()


NUMPY_TYPES: dict[ValueType, np.dtype[Any]] = {
    ValueType.UINT8: np.dtype("<u1"),
    ValueType.INT8: np.dtype("<i1"),
    ValueType.UINT16: np.dtype("<u2"),
    ValueType.INT16: np.dtype("<i2"),
    ValueType.UINT32: np.dtype("<u4"),
    ValueType.INT32: np.dtype("<i4"),
    ValueType.FLOAT32: np.dtype("<f4"),
    ValueType.BOOL: np.dtype("?"),
    ValueType.UINT64: np.dtype("<u8"),
    ValueType.INT64: np.dtype("<i8"),
    ValueType.FLOAT64: np.dtype("<f8"),
}
"""Types of fixed width, as numpy stores the elements of an array."""

STRUCTS: dict[ValueType, Struct] = {
    ValueType.UINT8: Struct("<B"),
    ValueType.INT8: Struct("<b"),
    ValueType.UINT16: Struct("<H"),
    ValueType.INT16: Struct("<h"),
    ValueType.UINT32: Struct("<I"),
    ValueType.INT32: Struct("<i"),
    ValueType.FLOAT32: Struct("<f"),
    ValueType.BOOL: Struct("<B"),
    ValueType.UINT64: Struct("<Q"),
    ValueType.INT64: Struct("<q"),
    ValueType.FLOAT64: Struct("<d"),
}
"""The same types, as `struct` packs a single value. BOOL is a byte that must be 0 or 1."""
