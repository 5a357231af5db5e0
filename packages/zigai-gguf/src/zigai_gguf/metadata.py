"""The metadata of a file: values by key, each with its type in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from zigai_gguf.string_array import StringArray
from zigai_gguf.values import NestedArray, Typed, ValueType


class Metadata(Mapping[str, Any]):
    """Metadata values by key, in the order of the file.

    Numbers are `int` or `float`, BOOL is `bool`, STRING is `str`, or `bytes` if it is not valid UTF-8. An
    array of numbers is a read-only numpy view of the file, an array of strings a `StringArray`, an array of
    arrays a `NestedArray`.
    """

    def __init__(
        self, values: Mapping[str, Any], types: Mapping[str, ValueType], positions: Mapping[str, int]
    ) -> None:
        self._values = dict(values)
        self._types = dict(types)
        self._positions = dict(positions)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Metadata({self._values!r})"

    def without(self, prefix: str) -> Metadata:
        """Returns a copy without the keys that begin with `prefix`."""
        kept = {key: value for key, value in self._values.items() if not key.startswith(prefix)}
        return Metadata(kept, self._types, self._positions)

    def value_type(self, key: str) -> ValueType:
        """Returns the type of a value in the file, ARRAY for every array. Raises `KeyError`."""
        return self._types[key]

    def position(self, key: str) -> int | None:
        """Returns the byte offset of a key in the file, or None if the key does not exist."""
        return self._positions.get(key)

    def typed(self) -> dict[str, Typed]:
        """Returns a copy in which every value has its type, to modify and pass to `write_gguf`."""
        return {key: self.typed_value(key) for key in self._values}

    def typed_value(self, key: str) -> Typed:
        """Returns a value with its type; for an array, the type of its elements. Raises `KeyError`."""
        value = self._values[key]
        return Typed(_stored(value, self._types[key]), value)


def _stored(value: Any, kind: ValueType) -> ValueType:
    if kind is not ValueType.ARRAY:
        return kind
    if isinstance(value, StringArray):
        return ValueType.STRING
    if isinstance(value, NestedArray):
        return ValueType.ARRAY
    return array_type(value.dtype)


def array_type(dtype: np.dtype[Any]) -> ValueType:
    """Returns the metadata type that stores elements of `dtype`. Raises `KeyError` if there is none."""
    return _BY_CODE[dtype.newbyteorder("=").str.lstrip("<>|=")]


_BY_CODE = {
    "u1": ValueType.UINT8,
    "i1": ValueType.INT8,
    "u2": ValueType.UINT16,
    "i2": ValueType.INT16,
    "u4": ValueType.UINT32,
    "i4": ValueType.INT32,
    "f4": ValueType.FLOAT32,
    "b1": ValueType.BOOL,
    "u8": ValueType.UINT64,
    "i8": ValueType.INT64,
    "f8": ValueType.FLOAT64,
}
