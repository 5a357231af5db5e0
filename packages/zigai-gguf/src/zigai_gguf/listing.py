"""Metadata for people, as lines of text, and for programs, as JSON.

Strings come from the file, so control characters are escaped in both. Long arrays are produced in chunks.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from zigai_core.contracts.errors import escape, quote
from zigai_gguf.metadata import Metadata
from zigai_gguf.string_array import StringArray
from zigai_gguf.values import NestedArray, Typed, ValueType

SHOWN = 6
"""Elements of an array that a line shows."""

WIDTH = 100
"""Characters of a string that a line shows."""

_CHUNK = 1 << 14
"""Elements of an array that become JSON at a time."""


def type_name(value: Typed) -> str:
    """Returns the type of a value, of an array with its elements' type and count.

    >>> type_name(Typed(ValueType.UINT32, 5)), type_name(Typed(ValueType.INT32, np.zeros(3, np.int32)))
    ('UINT32', 'INT32[3]')
    """
    if _is_array(value.value):
        return f"{value.type.name}[{len(value.value)}]"
    return value.type.name


def as_text(value: Typed, *, whole: bool = False) -> Iterator[str]:
    """Yields the pieces of a value on one line.

    Unless `whole`, a string is shortened to `WIDTH` characters and an array to its first `SHOWN` elements.

    >>> "".join(as_text(Typed(ValueType.STRING, "two\\nlines")))
    'two\\\\nlines'
    >>> "".join(as_text(Typed(ValueType.FLOAT32, 0.10000000149011612)))
    '0.1'
    """
    found = value.value
    if not _is_array(found):
        yield _line(found, value.type, sys.maxsize if whole else WIDTH)
        return
    yield "["
    for first in range(0, len(found) if whole else min(SHOWN, len(found)), _CHUNK):
        chunk = found[first : first + (_CHUNK if whole else SHOWN)]
        yield (", " if first else "") + ", ".join(_element(element, value.type, whole) for element in chunk)
    more = not whole and len(found) > SHOWN
    yield f", … {len(found):,} in all]" if more else "]"


def _element(element: Any, kind: ValueType, whole: bool) -> str:
    if _is_array(element):
        if not whole:
            return f"[{len(element)} elements]"
        return "".join(as_text(Typed(_element_type(element), element), whole=True))
    if isinstance(element, (str, bytes)):
        text = element.decode("utf-8", "replace") if isinstance(element, bytes) else element
        return quote(text, sys.maxsize if whole else WIDTH // 4)
    return _line(element, kind, WIDTH // 4)


def json_text(metadata: Metadata, keys: Sequence[str]) -> Iterator[str]:
    """Yields the pieces of a JSON object of `keys`: for each its `type` and its `value`, arrays whole.

    An array's `type` is that of its elements, and `count` their number. Numbers that JSON lacks are strings
    (`"nan"`, `"inf"`). Of a string that is not valid UTF-8, `utf8` is false and U+FFFD stands for each wrong
    byte.
    """
    yield "{"
    for place, key in enumerate(keys):
        typed = metadata.typed_value(key)
        value = typed.value
        yield f"{',' if place else ''}\n  {json.dumps(key)}: {{"
        yield f'"type": {json.dumps(typed.type.name)}, '
        if _is_array(value):
            yield f'"count": {len(value)}, '
        if isinstance(value, bytes) or (isinstance(value, StringArray) and value.invalid is not None):
            yield '"utf8": false, '
        yield '"value": '
        yield from _json(value, typed.type)
        yield "}"
    yield "\n}\n" if keys else "}\n"


def _json(value: Any, kind: ValueType) -> Iterator[str]:
    if not _is_array(value):
        yield json.dumps(_plain(value, kind))
        return
    yield "["
    for first in range(0, len(value), _CHUNK):
        if first:
            yield ", "
        chunk = value[first : first + _CHUNK]
        if isinstance(value, NestedArray):
            for place, element in enumerate(chunk):
                yield ", " if place else ""
                yield from _json(element, _element_type(element))
        else:
            yield json.dumps([_plain(element, kind) for element in chunk])[1:-1]
    yield "]"


def _element_type(array: Any) -> ValueType:
    """For an array of float32, FLOAT32; the plain values of all others need no type."""
    is_float32 = isinstance(array, np.ndarray) and array.dtype == np.float32
    return ValueType.FLOAT32 if is_float32 else ValueType.ARRAY


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, StringArray, NestedArray))


def _plain(value: Any, kind: ValueType) -> str | int | float | bool:
    """A value of JSON. Of float32, the shortest number that is stored the same: 0.95, not 0.949999988."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return float(str(np.float32(value))) if kind is ValueType.FLOAT32 else value
    assert isinstance(value, (str, int))
    return value


def _line(value: Any, kind: ValueType, width: int) -> str:
    plain = _plain(value, kind)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return escape(plain, width) if isinstance(plain, str) else str(plain)
