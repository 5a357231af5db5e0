"""Small files as JSON or text."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from zigai_core.contracts.errors import FormatError, quote
from zigai_safetensors import limits

_OBJECT, _ARRAY, _ELEMENT = 240, 64, 60
"""Bytes of memory of a small object, an array and a value in one, as Python 3.11 has them, at least."""


def read_json(path: Path, limit: int = limits.JSON_BYTES) -> dict[str, Any]:
    """Returns the object in a JSON file. Raises `FormatError` for any other, and for a name in it twice."""
    return parse_object(read_text(path, limit), str(path))


def read_text(path: Path, limit: int = limits.JSON_BYTES) -> str:
    """Returns the text of a file in UTF-8, of at most `limit` bytes. Raises `FormatError` for any other."""
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: byte {error.start}: is not UTF-8 text") from None


def read_bytes(path: Path, limit: int) -> bytes:
    """Returns the bytes of a file of at most `limit` bytes. Raises `FormatError` for any other."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise FormatError(f"{path}: is not a regular file")
        if found.st_size > limit:
            raise FormatError(f"{path}: has {found.st_size} bytes; at most {limit} are read")
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from None


def parse_object(text: str, where: str) -> dict[str, Any]:
    """Returns the object in a JSON text. `where` begins error texts.

    Raises `FormatError` for any other text, and as `parse_json` does.
    """
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise FormatError(f"{where}: holds {quote(value)}, not an object")
    return value


def parse_json(text: str, where: str) -> Any:
    """Returns the value in a JSON text. `where` begins error texts.

    Raises `FormatError` for a text that is not JSON, for a name twice in an object, for values in more than
    `limits.DEPTH` others, and before values are made if they would take too much memory.
    """
    needed = _OBJECT * text.count("{") + _ARRAY * text.count("[") + _ELEMENT * text.count(",")
    if needed > limits.JSON_MEMORY + limits.JSON_GROWTH * len(text):
        raise FormatError(f"{where}: has too many values for its {len(text)} characters: it is no such file")
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, where))
    except RecursionError:
        raise FormatError(f"{where}: values are nested too deeply") from None
    except ValueError as error:
        raise FormatError(f"{where}: is not JSON: {error}: it is damaged; download it again") from None
    _check_depth(value, where)
    return value


def _check_depth(value: Any, where: str) -> None:
    """Raises `FormatError` for a value so deep that comparing or printing it could fail."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(limits.DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list)) and inner
        ]
        if not level:
            return
    raise FormatError(f"{where}: values are nested too deeply")


def _unique(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise FormatError(f"{where}: holds {quote(name)} twice")
            seen.add(name)
    return found
