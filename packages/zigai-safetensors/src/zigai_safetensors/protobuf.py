"""Fields of a message in the wire format of Protocol Buffers.

Source: https://protobuf.dev/programming-guides/encoding. A field is a tag `number << 3 | wire type` and its
value: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zigai_core.contracts.errors import FormatError

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10


class Field(NamedTuple):
    """A field: its number, its wire type and where its value is; the value itself if it is a varint."""

    number: int
    wire: int
    begin: int
    end: int
    value: int = 0


def fields(data: bytes, begin: int, end: int, path: Path) -> Iterator[Field]:
    """Yields the fields of the message in `data[begin:end]`. Raises `FormatError`, with file and byte."""
    at = begin
    while at < end:
        start = at
        tag, at = _varint(data, at, end, path)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, after = _varint(data, at, end, path)
            yield Field(number, wire, at, after, value)
            at = after
            continue
        if wire == BYTES:
            size, at = _varint(data, at, end, path)
        elif wire in (EIGHT_BYTES, FOUR_BYTES):
            size = 8 if wire == EIGHT_BYTES else 4
        else:
            raise FormatError(f"{path}: byte {start}: the field {number} has the wire type {wire}")
        if size > end - at:
            raise FormatError(
                f"{path}: byte {start}: the field {number} has {size} bytes where {end - at} are left"
            )
        yield Field(number, wire, at, at + size)
        at += size


def _varint(data: bytes, at: int, end: int, path: Path) -> tuple[int, int]:
    """Returns the number at a position and the position after it."""
    value = 0
    for place in range(_LONGEST_VARINT):
        if at + place >= end:
            break
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at + place + 1
    raise FormatError(f"{path}: byte {at}: a number does not end")
