"""Typed access to a file's metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import FormatError, escape, quote
from zigai_gguf.metadata import Metadata, array_type
from zigai_gguf.string_array import StringArray
from zigai_gguf.values import ValueType


class Keys:
    """Looks up metadata keys and checks their types.

    Getters return None for a missing key (`flag` returns its default) and raise `FormatError` for a value of
    another type.
    """

    def __init__(self, path: Path, metadata: Metadata) -> None:
        self.path = path
        self.metadata = metadata

    def error(self, key: str, what: str) -> FormatError:
        """Returns a `FormatError` that names the file, the key and, if the key exists, its byte offset."""
        position = self.metadata.position(key)
        where = "" if position is None else f"byte {position}: "
        return FormatError(f"{self.path}: {where}metadata {quote(key)} {what}")

    def text(self, key: str) -> str | None:
        """A string, which must be valid UTF-8."""
        value = self.of_type(key, ValueType.STRING)
        if isinstance(value, bytes):
            raise self.error(key, f"is not valid UTF-8: {quote(value)}")
        return None if value is None else str(value)

    def label(self, key: str) -> str | None:
        """A string for display only: escaped to one line, with U+FFFD for bytes that are not UTF-8."""
        value = self.of_type(key, ValueType.STRING)
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return None if text is None else escape(text)

    def flag(self, key: str, default: bool) -> bool:
        """A BOOL, or `default` if the key is missing."""
        value = self.of_type(key, ValueType.BOOL)
        return default if value is None else bool(value)

    def integer(self, key: str) -> int | None:
        """An integer of any width."""
        value = self.metadata.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, f"is {self.metadata.value_type(key).name}, but must be an integer")
        return value

    def strings(self, key: str) -> StringArray | None:
        """An array of strings, all of which must be valid UTF-8."""
        value = self.metadata.get(key)
        if value is not None and not isinstance(value, StringArray):
            raise self.error(key, f"is {self._kind(key)}, but must be an array of STRING")
        if value is not None and value.invalid is not None:
            index, byte = value.invalid
            raise self.error(key, f"is not valid UTF-8 in element {index}, at byte {byte}")
        return value

    def array(self, key: str, *kinds: ValueType) -> NDArray[Any] | None:
        """An array of numbers whose element type is one of `kinds`."""
        value = self.metadata.get(key)
        if value is None:
            return None
        if not isinstance(value, np.ndarray) or array_type(value.dtype) not in kinds:
            expected = " or ".join(kind.name for kind in kinds)
            raise self.error(key, f"is {self._kind(key)}, but must be an array of {expected}")
        return value

    def of_type(self, key: str, kind: ValueType) -> Any:
        """A value of exactly the type `kind`."""
        if key in self.metadata and self.metadata.value_type(key) is not kind:
            raise self.error(key, f"is {self._kind(key)}, but must be {kind.name}")
        return self.metadata.get(key)

    def _kind(self, key: str) -> str:
        kind = self.metadata.value_type(key)
        if kind is not ValueType.ARRAY:
            return kind.name
        return f"an array of {self.metadata.typed_value(key).type.name}"
