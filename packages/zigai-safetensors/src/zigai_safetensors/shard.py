"""A safetensors file: its header, checked, and its tensors as views of the mapped file.

Source: the format's description (https://github.com/huggingface/safetensors). Layout: the length of the
header as 64 bits, little-endian; the header, a JSON object with type, shape and the first and last byte of
each tensor, counted from the end of the header; the tensors, one after another without holes.
"""

from __future__ import annotations

import mmap
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES, DType
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_core.contracts.mapped_file import MappedFile
from zigai_safetensors import limits
from zigai_safetensors.files import parse_object

TYPES = {
    **{name: DTYPES[name] for name in ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8")},
    # Of these only the size is known: they are parts of quantised weights (`zigai_safetensors.quantised`).
    **{name: DType(name, 1, 1, None) for name in ("U8", "F8_E4M3", "F8_E5M2", "F8_E8M0")},
}
"""Types of elements by their names in headers."""

_ENTRY = {"dtype", "shape", "data_offsets"}


class _Entry(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: DType
    begin: int
    end: int


def read_shard(path: Path) -> dict[str, TensorInfo]:
    """Returns the tensors of a file by name.

    Raises `FormatError`, with the file and the field, if the file is not valid: truncated, with a header that
    lies about its own length, a shape or an offset, or with tensors that overlap or leave holes;
    `UnsupportedError` for a type of elements that is not known.
    """
    file = MappedFile(path)
    mapped = file.memory
    start, header = _header(path, mapped)
    entries = [_entry(path, name, value) for name, value in header.items() if name != "__metadata__"]
    if len(entries) > limits.TENSORS:
        raise FormatError(f"{path}: has {len(entries)} tensors; at most {limits.TENSORS} are read")
    _check_layout(path, entries, len(mapped) - start)
    return {
        entry.name: file.tensor(
            entry.name, entry.shape, entry.dtype, start + entry.begin, entry.end - entry.begin
        )
        for entry in entries
    }


def _header(path: Path, mapped: mmap.mmap) -> tuple[int, dict[str, Any]]:
    """Returns the position of the first tensor's first byte, and the header."""
    if len(mapped) < 8:
        raise FormatError(
            f"{path}: byte 0: the file has {len(mapped)} bytes, fewer than a header's length takes"
        )
    length = int.from_bytes(mapped[:8], "little")
    if length > len(mapped) - 8:
        raise FormatError(
            f"{path}: byte 0: the header has {length} bytes, but the file ends after {len(mapped) - 8} more: "
            "it is truncated or not a safetensors file; download it again"
        )
    if length > limits.HEADER_BYTES:
        raise FormatError(
            f"{path}: byte 0: the header has {length} bytes; at most {limits.HEADER_BYTES} are read"
        )
    try:
        text = mapped[8 : 8 + length].decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: byte {8 + error.start}: the header is not UTF-8 text") from None
    return 8 + length, parse_object(text, f"{path}: the header")


def _entry(path: Path, name: str, value: Any) -> _Entry:
    field = f"{path}: tensor {quote(name)}"
    if not isinstance(value, dict) or set(value) != _ENTRY:
        raise FormatError(f"{field} is {quote(value)}, but must have {', '.join(sorted(_ENTRY))}")
    kind, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(kind, str):
        raise FormatError(f"{field}: its dtype is {quote(kind)}")
    if kind not in TYPES:
        raise UnsupportedError(f"{field} has elements of type {quote(kind)}; known are {', '.join(TYPES)}")
    if not _are_counts(shape) or len(shape) > limits.DIMENSIONS:
        raise FormatError(
            f"{field}: its shape is {quote(shape)}, but must be at most {limits.DIMENSIONS} whole numbers"
        )
    if 0 in shape:
        raise FormatError(f"{field}: its shape is {quote(shape)}: a dimension is zero")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise FormatError(
            f"{field}: its data_offsets are {quote(offsets)}, but must be its first and last byte"
        )
    given = tuple(shape) or (1,)  # a tensor without dimensions is a single number
    nbytes = TYPES[kind].nbytes(given)
    if offsets[1] - offsets[0] != nbytes:
        raise FormatError(
            f"{field} of shape {quote(shape)} and type {kind} takes {nbytes} bytes, but has "
            f"{offsets[1] - offsets[0]}"
        )
    return _Entry(name, given, TYPES[kind], offsets[0], offsets[1])


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and 0 <= each < 1 << 62 for each in value)


def _check_layout(path: Path, entries: list[_Entry], size: int) -> None:
    """Raise `FormatError` unless the tensors fill the `size` bytes after the header, each byte once."""
    ordered = sorted(entries, key=lambda entry: (entry.begin, entry.end))
    for first, second in pairwise(ordered):
        if first.end > second.begin:
            raise FormatError(f"{path}: tensor {quote(second.name)} overlaps tensor {quote(first.name)}")
        if first.end < second.begin:
            raise FormatError(
                f"{path}: {second.begin - first.end} bytes between the tensors {quote(first.name)} and "
                f"{quote(second.name)} belong to none"
            )
    begin, end = (ordered[0].begin, ordered[-1].end) if ordered else (0, 0)
    if begin:
        raise FormatError(f"{path}: {begin} bytes before tensor {quote(ordered[0].name)} belong to none")
    if end > size:
        raise FormatError(
            f"{path}: tensor {quote(ordered[-1].name)} ends at byte {end} of the tensors, of {size} in all: "
            "the file is truncated; download it again"
        )
    if end < size:
        raise FormatError(f"{path}: {size - end} bytes after the last tensor belong to none")
