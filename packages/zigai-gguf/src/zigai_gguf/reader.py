"""Reads GGUF files: version, metadata and tensors. Every count and offset is checked before use.

Source: GGUF's specification (ggml, docs/gguf.md). Layout: magic, version, tensor count and key count;
metadata; tensor table; padding to the alignment; tensor data, from whose start the tensor offsets count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DType
from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_core.contracts.mapped_file import MappedFile
from zigai_gguf import limits
from zigai_gguf.cursor import Cursor
from zigai_gguf.keys import Keys
from zigai_gguf.metadata import Metadata
from zigai_gguf.string_array import StringArray, Truncated
from zigai_gguf.tensor_types import TENSOR_TYPES, unknown_type
from zigai_gguf.values import NUMPY_TYPES, STRUCTS, NestedArray, ValueType

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
"""Alignment of tensors, in bytes, if the file has no `general.alignment`."""

_KEY_BYTES = 8 + 1 + 4 + 1
_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8
"""Minimum sizes in bytes of a key with its value, and of an entry of the tensor table."""


@dataclass(frozen=True, eq=False)
class GGUFFile:
    """A GGUF file that has been read and checked.

    Tensor data is mapped, not copied; the mapping lives as long as any view of it. `alignment` is in bytes.
    `parts` are the files of a model in several, of which `path` is the first.
    """

    path: Path
    version: int
    alignment: int
    metadata: Metadata
    tensors: Mapping[str, TensorInfo]
    parts: tuple[Path, ...] = ()

    @classmethod
    def open(cls, path: Path | str) -> GGUFFile:
        """Reads the file at `path`.

        Raises `FormatError` with byte and field if the file is not valid GGUF, `UnsupportedError` for an
        unsupported version, byte order or tensor type.
        """
        path = Path(path)
        file = MappedFile(path)
        cursor = Cursor(path, memoryview(file.memory))
        version, tensor_count, key_count = _header(cursor)
        metadata = _metadata(cursor, key_count)
        alignment = _alignment(Keys(path, metadata))
        entries = [_tensor_entry(cursor, i) for i in range(tensor_count)]
        tensors = _tensors(cursor, entries, alignment, file)
        return cls(path, version, alignment, metadata, tensors)


def _header(cursor: Cursor) -> tuple[int, int, int]:
    start = cursor.take(4, "the magic")
    magic = bytes(cursor.data[start:4])
    if magic in (b"lmgg", b"fmgg", b"tjgg"):
        raise cursor.error(
            "the magic", "is that of GGML, the format before GGUF; convert the model to GGUF", 0
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
            raise UnsupportedError(f"{what}GGUF version 1 is not supported; convert the model again")
        raise UnsupportedError(
            f"{what}GGUF version {version} is not supported; supported are versions 2 and 3"
        )
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
            raise cursor.error(f"metadata key {index}", f"{quote(key)} occurs twice in the file", at)
        field = f"metadata {quote(key)}"
        types[key] = reader.kind(f"{field}: its type")
        values[key] = reader.value(types[key], field)
        positions[key] = at
    return Metadata(values, types, positions)


class _ValueReader:
    """Reads metadata values and counts strings in arrays and nested arrays against the limits of a file."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._left = {ValueType.STRING: limits.STRINGS, ValueType.ARRAY: limits.ARRAYS}

    def kind(self, field: str) -> ValueType:
        at = self._cursor.position
        number = self._cursor.u32(field)
        try:
            return ValueType(number)
        except ValueError:
            raise self._cursor.error(field, f"is {number}, which is not a GGUF value type", at) from None

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
            raise cursor.error(field, f"is a BOOL with value {number}; only 0 and 1 are valid", at)
        return bool(number)

    def _array(self, field: str, depth: int) -> Any:
        cursor = self._cursor
        if depth >= limits.NESTING:
            raise cursor.error(field, f"nests arrays more than {limits.NESTING} levels deep")
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
                    field, f"has a BOOL other than 0 and 1 in element {int(wrong[0])}", start + int(wrong[0])
                )
        return np.frombuffer(bytes(stored), dtype)  # a copy, because a mapped file may be cut short

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
                f"is {count}, but a file may have only {self._left[kind]} more elements of type {kind.name}",
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
            f"is {value}, but must be a power of two within "
            f"{limits.ALIGNMENT_MINIMUM}..{limits.ALIGNMENT_MAXIMUM}",
        )
    return int(value)


class _Entry(NamedTuple):
    """An entry of the tensor table, which begins at byte `at`.

    `shape` is in numpy's order; `offset` is in bytes from the start of the tensor data.
    """

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
    start = cursor.position
    dimensions = cursor.u32(f"{field}: its number of dimensions")
    if dimensions > limits.DIMENSIONS:
        raise cursor.error(
            field, f"has {dimensions} dimensions; at most {limits.DIMENSIONS} are supported", start
        )
    # A tensor without dimensions is a single number, which ggml treats as one dimension of 1.
    shape = tuple(cursor.u64(f"{field}: dimension {i}") for i in range(dimensions))[::-1] or (1,)
    if 0 in shape:
        raise cursor.error(field, f"has shape {shape}: a dimension is zero", start)
    start = cursor.position
    number = cursor.u32(f"{field}: its type")
    dtype = TENSOR_TYPES.get(number)
    if dtype is None:
        raise UnsupportedError(f"{cursor.path}: byte {start}: {field} {unknown_type(number)}")
    if shape[-1] % dtype.block_size:
        raise cursor.error(
            field,
            f"has rows of {shape[-1]} elements, not a multiple of {dtype.name}'s block size, "
            f"{dtype.block_size}",
            start,
        )
    nbytes = dtype.nbytes(shape)
    if nbytes > cursor.size:
        raise cursor.error(
            field, f"of shape {shape} takes {nbytes} bytes, but the whole file has {cursor.size}", start
        )
    return _Entry(name, shape, dtype, cursor.u64(f"{field}: its offset"), nbytes, at)


def _tensors(
    cursor: Cursor, entries: list[_Entry], alignment: int, file: MappedFile
) -> dict[str, TensorInfo]:
    start = -(-cursor.position // alignment) * alignment
    tensors: dict[str, TensorInfo] = {}
    for entry in entries:
        field = f"tensor {quote(entry.name)}"
        if entry.name in tensors:
            raise cursor.error(field, "occurs twice in the file", entry.at)
        if entry.offset % alignment:
            raise cursor.error(
                field, f"has offset {entry.offset}, not a multiple of the alignment {alignment}", entry.at
            )
        begin = start + entry.offset
        if begin + entry.nbytes > cursor.size:
            raise cursor.error(
                field,
                f"occupies bytes {begin}..{begin + entry.nbytes}, but the file ends at byte {cursor.size}: "
                "it is truncated or damaged; download it again",
                entry.at,
            )
        tensors[entry.name] = file.tensor(entry.name, entry.shape, entry.dtype, begin, entry.nbytes)
    _check_overlap(cursor, entries)
    return tensors


def _check_overlap(cursor: Cursor, entries: list[_Entry]) -> None:
    ordered = sorted(entries, key=lambda entry: entry.offset)
    for first, second in pairwise(ordered):
        if first.offset + first.nbytes > second.offset:
            raise cursor.error(
                f"tensor {quote(second.name)}", f"overlaps tensor {quote(first.name)}", second.at
            )
