"""What stands in a GGUF file: version, metadata and tensors, each count and offset checked before it is used.

Source: GGUF's specification (ggml, docs/gguf.md). In order: magic, version, tensor count, key count; the
metadata; the tensor table; padding to the alignment; tensor data, each tensor at its offset from there.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DType
from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_gguf import limits
from zigai_gguf.cursor import Cursor, map_file, unload
from zigai_gguf.keys import Keys
from zigai_gguf.metadata import Metadata
from zigai_gguf.string_array import StringArray, Truncated
from zigai_gguf.tensor_types import TENSOR_TYPES, unknown_type
from zigai_gguf.values import NUMPY_TYPES, STRUCTS, NestedArray, ValueType

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
"""Where tensors begin in a file that has no `general.alignment`: at multiples of this."""

_KEY_BYTES = 8 + 1 + 4 + 1
_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8
"""The least that a key and its value take, and an entry of the tensor table."""


@dataclass(frozen=True, eq=False)
class GGUFFile:
    """A file, read and checked. Tensor data is mapped: the map lives as long as a view of it does."""

    path: Path
    version: int
    alignment: int
    metadata: Metadata
    tensors: Mapping[str, TensorInfo]

    @classmethod
    def open(cls, path: Path | str) -> GGUFFile:
        """Read `path`.

        `FormatError` with the byte and the field for what is not GGUF, `UnsupportedError` for a version, a
        byte order or a tensor type that is not read.
        """
        path = Path(path)
        mapped, identity = map_file(path)
        cursor = Cursor(path, memoryview(mapped))
        version, tensor_count, key_count = _header(cursor)
        metadata = _metadata(cursor, key_count)
        alignment = _alignment(Keys(path, metadata))
        entries = [_tensor_entry(cursor, i) for i in range(tensor_count)]
        tensors = _tensors(cursor, entries, alignment, mapped, identity)
        return cls(path, version, alignment, metadata, tensors)


def _header(cursor: Cursor) -> tuple[int, int, int]:
    start = cursor.take(4, "the magic")
    magic = bytes(cursor.data[start:4])
    if magic in (b"lmgg", b"fmgg", b"tjgg"):
        raise cursor.error(
            "the magic", "is that of a GGML file, which came before GGUF; convert the model again", 0
        )
    if magic != MAGIC:
        raise cursor.error("the magic", f"is {quote(magic)}, not {MAGIC!r}: this is not a GGUF file", 0)
    version = cursor.u32("the version")
    if version not in VERSIONS:
        what = f"{cursor.path}: byte 4: "
        if 1 <= int.from_bytes(version.to_bytes(4, "little"), "big") <= max(VERSIONS):
            raise UnsupportedError(
                f"{what}the file is big-endian; convert it with `gguf-convert-endian` from the package gguf"
            )
        if version == 1:
            raise UnsupportedError(f"{what}GGUF version 1 is not read; convert the model again")
        raise UnsupportedError(f"{what}GGUF version {version} is not read; versions 2 and 3 are")
    tensor_count = cursor.count("the tensor count", _TENSOR_BYTES, limits.TENSORS)
    key_count = cursor.count("the metadata key count", _KEY_BYTES, limits.KEYS)
    return version, tensor_count, key_count


def _metadata(cursor: Cursor, count: int) -> Metadata:
    values: dict[str, Any] = {}
    types: dict[str, ValueType] = {}
    positions: dict[str, int] = {}
    reader = _ValueReader(cursor)
    for index in range(count):
        at = cursor.position
        key = cursor.name(f"metadata key {index}")
        if key in values:
            raise cursor.error(f"metadata key {index}", f"{quote(key)} stands in the file twice", at)
        field = f"metadata {quote(key)}"
        types[key] = reader.kind(f"{field}: its type")
        values[key] = reader.value(types[key], field)
        positions[key] = at
    return Metadata(values, types, positions)


class _ValueReader:
    """Reads metadata values, and counts the strings in arrays and the nested arrays of a whole file."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._left = {ValueType.STRING: limits.STRINGS, ValueType.ARRAY: limits.ARRAYS}

    def kind(self, field: str) -> ValueType:
        at = self._cursor.position
        number = self._cursor.u32(field)
        try:
            return ValueType(number)
        except ValueError:
            raise self._cursor.error(field, f"is {number}, which is no GGUF value type", at) from None

    def value(self, kind: ValueType, field: str) -> Any:
        cursor = self._cursor
        if kind is ValueType.STRING:
            return cursor.string(field)
        if kind is ValueType.ARRAY:
            return self._array(field, 0)
        at = cursor.position
        number = cursor.unpack(STRUCTS[kind], field)
        if kind is not ValueType.BOOL:
            return number
        if number > 1:
            raise cursor.error(field, f"is the BOOL {number}, neither 0 nor 1", at)
        return bool(number)

    def _array(self, field: str, depth: int) -> Any:
        cursor = self._cursor
        if depth >= limits.NESTING:
            raise cursor.error(field, f"nests arrays more than {limits.NESTING} deep")
        kind = self.kind(f"{field}: its element type")
        length = f"{field}: its length"
        if kind is ValueType.STRING:
            return self._strings(self._count(length, 8, kind), field)
        if kind is ValueType.ARRAY:
            return NestedArray([self._array(field, depth + 1) for _ in range(self._count(length, 12, kind))])
        dtype = NUMPY_TYPES[kind]
        count = cursor.count(length, dtype.itemsize)
        start = cursor.take(count * dtype.itemsize, field)
        stored = cursor.data[start : cursor.position]
        if kind is ValueType.BOOL and count:
            wrong = np.flatnonzero(np.frombuffer(stored, np.uint8) > 1)
            if wrong.size:
                raise cursor.error(
                    field, f"has an element {int(wrong[0])} that is no BOOL", start + int(wrong[0])
                )
        return np.frombuffer(stored, dtype)

    def _strings(self, count: int, field: str) -> StringArray:
        cursor = self._cursor
        try:
            strings = StringArray.walk(cursor.data, cursor.position, count)
        except Truncated as stop:
            raise cursor.ended(f"{field}: element {stop.index}", stop.needed, stop.position) from None
        cursor.position = strings.end
        return strings

    def _count(self, field: str, each: int, kind: ValueType) -> int:
        at = self._cursor.position
        count = self._cursor.count(field, each)
        if count > self._left[kind]:
            raise self._cursor.error(
                field,
                f"is {count}; only {self._left[kind]} more elements of type {kind.name} are read of a file",
                at,
            )
        self._left[kind] -= count
        return count


def _alignment(keys: Keys) -> int:
    key = "general.alignment"
    if key not in keys.metadata:
        return ALIGNMENT
    value = keys.of_type(key, ValueType.UINT32)
    if not limits.is_alignment(value):
        raise keys.error(
            key,
            f"is {value}, it must be a power of two within "
            f"{limits.ALIGNMENT_MINIMUM}..{limits.ALIGNMENT_MAXIMUM}",
        )
    return int(value)


class _Entry(NamedTuple):
    """A line of the tensor table: `offset` counts from where the tensor data begins."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    offset: int
    nbytes: int
    at: int


def _tensor_entry(cursor: Cursor, index: int) -> _Entry:
    at = cursor.position
    name = cursor.name(f"the name of tensor {index}")
    field = f"tensor {quote(name)}"
    place = cursor.position
    dimensions = cursor.u32(f"{field}: its number of dimensions")
    if dimensions > limits.DIMENSIONS:
        raise cursor.error(field, f"has {dimensions} dimensions; at most {limits.DIMENSIONS} are read", place)
    # No dimensions at all is a single number, which ggml treats as one dimension of 1.
    shape = tuple(cursor.u64(f"{field}: dimension {i}") for i in range(dimensions))[::-1] or (1,)
    if 0 in shape:
        raise cursor.error(field, f"has shape {shape}: a dimension is zero", place)
    place = cursor.position
    number = cursor.u32(f"{field}: its type")
    dtype = TENSOR_TYPES.get(number)
    if dtype is None:
        raise UnsupportedError(f"{cursor.path}: byte {place}: {field} {unknown_type(number)}")
    if shape[-1] % dtype.block_size:
        raise cursor.error(
            field,
            f"has rows of {shape[-1]}, no multiple of {dtype.name}'s {dtype.block_size}",
            place,
        )
    nbytes = dtype.nbytes(shape)
    if nbytes > cursor.size:
        raise cursor.error(
            field, f"of shape {shape} takes {nbytes} bytes, but the whole file has {cursor.size}", place
        )
    return _Entry(name, shape, dtype, cursor.u64(f"{field}: its offset"), nbytes, at)


def _tensors(
    cursor: Cursor, entries: list[_Entry], alignment: int, mapped: mmap.mmap, identity: str
) -> dict[str, TensorInfo]:
    whole = np.frombuffer(mapped, np.uint8)
    start = -(-cursor.position // alignment) * alignment
    tensors: dict[str, TensorInfo] = {}
    for entry in entries:
        field = f"tensor {quote(entry.name)}"
        if entry.name in tensors:
            raise cursor.error(field, "stands in the file twice", entry.at)
        if entry.offset % alignment:
            raise cursor.error(field, f"has offset {entry.offset}, no multiple of {alignment}", entry.at)
        begin = start + entry.offset
        if begin + entry.nbytes > cursor.size:
            raise cursor.error(
                field,
                f"lies at bytes {begin} to {begin + entry.nbytes}, but the file ends at byte {cursor.size}: "
                "it is truncated or damaged; download it again",
                entry.at,
            )
        data, release = whole[begin : begin + entry.nbytes], partial(unload, mapped, begin, entry.nbytes)
        tensors[entry.name] = TensorInfo(
            entry.name, entry.shape, entry.dtype, data, release, f"{identity} {begin} {entry.nbytes}"
        )
    _check_overlap(cursor, entries)
    return tensors


def _check_overlap(cursor: Cursor, entries: list[_Entry]) -> None:
    ordered = sorted(entries, key=lambda entry: entry.offset)
    for first, second in pairwise(ordered):
        if first.offset + first.nbytes > second.offset:
            raise cursor.error(
                f"tensor {quote(second.name)}", f"overlaps tensor {quote(first.name)}", second.at
            )
