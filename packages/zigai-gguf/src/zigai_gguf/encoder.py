"""Encoding of metadata as the bytes of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from struct import error as StructError
from typing import Any

import numpy as np

from zigai_core.contracts.errors import FormatError, quote
from zigai_gguf import limits
from zigai_gguf.metadata import Metadata, array_type
from zigai_gguf.string_array import StringArray
from zigai_gguf.values import NUMPY_TYPES, STRUCTS, NestedArray, Typed, ValueType

_U32 = Struct("<I")
_U64 = Struct("<Q")
_WHOLE = {kind for kind, dtype in NUMPY_TYPES.items() if dtype.kind in "iu"}
_SEQUENCES = (list, tuple, np.ndarray, StringArray)


def encode_text(text: str, field: str) -> bytes:
    """Returns a string as its 64-bit length and UTF-8 bytes. Raises `FormatError` naming `field`."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"{field} cannot be encoded as UTF-8: {error.reason}") from None
    return _U64.pack(len(data)) + data


def encode_name(name: str, field: str) -> bytes:
    """Returns a key or the name of a tensor as a string. Raises `FormatError` if GGUF does not allow it."""
    data = encode_text(name, field)
    if not name or "\0" in name or len(data) - 8 > limits.NAME_BYTES:
        raise FormatError(
            f"{field}: {quote(name)} is not a valid name: it is empty, contains a NUL character or takes "
            f"more than {limits.NAME_BYTES} bytes"
        )
    return data


def encode_metadata(metadata: Mapping[str, Any]) -> bytes:
    """Returns all keys and values as bytes; `write_gguf` documents the types of plain Python values."""
    items = metadata.typed() if isinstance(metadata, Metadata) else metadata
    encoder = _Encoder()
    for key, value in items.items():
        encoder.parts.append(encode_name(key, f"metadata {quote(key)}"))
        encoder.value(value, f"metadata {quote(key)}")
    return b"".join(encoder.parts)


class _Encoder:
    """Encodes values into `parts` and counts strings and nested arrays against the limits of a file."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._left = {ValueType.STRING: limits.STRINGS, ValueType.ARRAY: limits.ARRAYS}

    def value(self, value: Any, field: str) -> None:
        typed = value if isinstance(value, Typed) else Typed(_infer(value, field), value)
        if isinstance(typed.value, _SEQUENCES):
            self.parts.append(_U32.pack(ValueType.ARRAY))
            self._array(typed, field, 0)
        else:
            self.parts.append(_U32.pack(typed.type))
            self.parts.append(_scalar(typed, field))

    def _array(self, typed: Typed, field: str, depth: int) -> None:
        values = typed.value
        if depth >= limits.NESTING:
            raise FormatError(f"{field} nests arrays more than {limits.NESTING} levels deep")
        self.parts.append(_U32.pack(typed.type) + _U64.pack(len(values)))
        if typed.type not in (ValueType.STRING, ValueType.ARRAY):
            self.parts.append(_numbers(typed, field))
            return
        self._left[typed.type] -= len(values)
        if self._left[typed.type] < 0:
            raise FormatError(f"{field} has more elements of type {typed.type.name} than a reader accepts")
        if isinstance(values, StringArray) and typed.type is ValueType.STRING:
            self.parts.append(bytes(values.stored))  # strings that are not UTF-8 stay unchanged
            return
        for index, value in enumerate(values):
            if typed.type is ValueType.STRING:
                if not isinstance(value, str):
                    raise FormatError(f"{field}: element {index} is {quote(value)}, not a string")
                self.parts.append(encode_text(value, f"{field}: element {index}"))
                continue
            inner = value if isinstance(value, Typed) else Typed(_infer(value, field), value)
            if not isinstance(inner.value, _SEQUENCES):
                raise FormatError(f"{field}: element {index} is {quote(value)}, not an array")
            self._array(inner, field, depth + 1)


def _scalar(typed: Typed, field: str) -> bytes:
    kind, value = typed.type, typed.value
    if kind is ValueType.STRING and isinstance(value, str):
        return encode_text(value, field)
    if kind is ValueType.STRING and isinstance(value, bytes):  # a string read from a file that is not UTF-8
        return _U64.pack(len(value)) + value
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    real = whole or isinstance(value, (float, np.floating))
    if kind is ValueType.BOOL and isinstance(value, (bool, np.bool_)):
        return STRUCTS[kind].pack(bool(value))
    try:
        if kind in _WHOLE and whole:
            return STRUCTS[kind].pack(int(value))
        if kind in (ValueType.FLOAT32, ValueType.FLOAT64) and real:
            return STRUCTS[kind].pack(float(value))
    except (StructError, OverflowError):
        raise FormatError(f"{field} is {quote(value)}, outside the range of {kind.name}") from None
    raise FormatError(f"{field} is {quote(value)}, which cannot be stored as {kind.name}")


def _numbers(typed: Typed, field: str) -> bytes:
    kind, values, dtype = typed.type, typed.value, NUMPY_TYPES[typed.type]
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise FormatError(f"{field} has shape {values.shape}; a metadata array has one dimension")
        if values.dtype == dtype:
            return values.astype(dtype).tobytes()
        values = values.tolist()
    return b"".join(_scalar(Typed(kind, value), f"{field}: element {i}") for i, value in enumerate(values))


def _infer(value: Any, field: str) -> ValueType:
    """Returns the type of a value that is not `Typed`; for a sequence, the type of its elements."""
    if isinstance(value, (bool, np.bool_)):
        return ValueType.BOOL
    if isinstance(value, int) and not isinstance(value, np.generic):
        return _whole_type([value], ValueType.UINT32)
    if isinstance(value, str):
        return ValueType.STRING
    if isinstance(value, StringArray):
        return ValueType.STRING
    if isinstance(value, NestedArray):
        return ValueType.ARRAY
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "iufb":
        try:
            return array_type(value.dtype)
        except KeyError:
            raise FormatError(f"{field} has dtype {value.dtype}, which GGUF metadata cannot store") from None
    if isinstance(value, float):
        return ValueType.FLOAT32
    if isinstance(value, (list, tuple)):
        return _infer_elements(value, field)
    raise FormatError(f"{field} is of Python type {type(value).__name__}, which GGUF metadata cannot store")


def _infer_elements(values: Sequence[Any], field: str) -> ValueType:
    if not values:
        raise FormatError(
            f"{field} is an empty list; give its element type, as in Typed(ValueType.STRING, [])"
        )
    for types, kind in (
        (str, ValueType.STRING),
        (bool, ValueType.BOOL),
        ((*_SEQUENCES, Typed), ValueType.ARRAY),
    ):
        if all(isinstance(value, types) for value in values):
            return kind
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return _whole_type(values, ValueType.INT32)
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return ValueType.FLOAT32
    raise FormatError(f"{field} is a list of mixed types; all elements of a GGUF array have one type")


def _whole_type(values: Sequence[int], preferred: ValueType) -> ValueType:
    """Returns `preferred` if it can store all values, else INT32, INT64 or UINT64."""
    low, high = min(values), max(values)
    for kind in (preferred, ValueType.INT32, ValueType.INT64):
        bounds = np.iinfo(NUMPY_TYPES[kind])
        if bounds.min <= low and high <= bounds.max:
            return kind
    return ValueType.UINT64
