"""A reader of protobuf messages, for tests of what is written and of what sentencepiece trains."""

from __future__ import annotations

import struct
from typing import Any

Fields = list[tuple[int, int, Any]]


def parse(message: bytes) -> Fields:
    """Fields `(number, wire type, value)` of a protobuf message."""
    fields = []
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(message):
        tag = varint()
        value: Any
        if tag & 7 == 0:
            value = varint()
        elif tag & 7 == 5:
            (value,) = struct.unpack_from("<f", message, position)
            position += 4
        else:
            assert tag & 7 == 2
            length = varint()
            value = message[position : position + length]
            assert len(value) == length
            position += length
        fields.append((tag >> 3, tag & 7, value))
    return fields
