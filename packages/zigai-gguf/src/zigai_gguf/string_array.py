"""Arrays of strings that are decoded on access."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from struct import Struct
from struct import error as StructError
from typing import overload

import numpy as np
from numpy.typing import NDArray

_LENGTH = Struct("<Q")
_CHUNK = 1 << 14
"""Strings decoded at a time."""


class Truncated(Exception):  # noqa: N818 - internal: the reader turns it into a FormatError
    """String `index` needs `needed` bytes from byte `position` on, but the data ends before."""

    def __init__(self, index: int, position: int, needed: int) -> None:
        super().__init__(index, position, needed)
        self.index = index
        self.position = position
        self.needed = needed


class StringArray(Sequence[str]):
    """An array of GGUF strings (each a 64-bit length and UTF-8 bytes), decoded on access.

    `bounds`, int64 `[count + 1]`, holds the byte offset in `data` of each string's length, and of the end of
    the last string. Iteration decodes in chunks, which is much faster than indexing each string.
    """

    def __init__(self, data: memoryview, bounds: NDArray[np.int64]) -> None:
        self._data = data
        self._bounds = bounds
        self.invalid = self._find_invalid()
        """Index of the first string that is not valid UTF-8, and the offset of the invalid byte; None if all
        strings are valid. Access replaces invalid bytes by U+FFFD."""
        self._errors = "strict" if self.invalid is None else "replace"
        first, self.end = int(bounds[0]), int(bounds[-1])
        # A copy, because a mapped file may be cut short.
        self._data, self._bounds = memoryview(bytes(data[first : self.end])), bounds - first

    @classmethod
    def walk(cls, data: memoryview, position: int, count: int) -> StringArray:
        """Returns the `count` strings from byte `position` on. Raises `Truncated` if one ends past `data`."""
        unpack = _LENGTH.unpack_from
        start = position
        bounds = [start]
        append = bounds.append
        try:
            for _ in repeat(None, count):
                start += 8 + unpack(data, start)[0]
                append(start)
        except (StructError, OverflowError):
            pass
        # The walk does not check the length of the last string that it found.
        if bounds[-1] > len(data):
            raise Truncated(len(bounds) - 2, bounds[-2], bounds[-1] - bounds[-2])
        if len(bounds) <= count:
            raise Truncated(len(bounds) - 1, bounds[-1], 8)
        return cls(data, np.array(bounds, dtype=np.int64))

    @property
    def stored(self) -> memoryview:
        """The stored bytes of all strings, with their lengths."""
        return self._data

    def _find_invalid(self) -> tuple[int, int] | None:
        bounds = self._bounds
        for first in range(0, len(self), _CHUNK):
            chunk = bounds[first : first + _CHUNK + 1]
            start = int(chunk[0])
            text = np.frombuffer(self._data[start : int(chunk[-1])], np.uint8).copy()
            # One decoding checks the whole chunk: lengths become NULs, and a NUL after an incomplete
            # character is an error.
            lengths = chunk[:-1] - start
            for byte in range(8):
                text[lengths + byte] = 0
            try:
                text.tobytes().decode()
            except UnicodeDecodeError as error:
                at = start + error.start
                return int(np.searchsorted(bounds, at, side="right")) - 1, at
        return None

    def beginning_with(self, byte: bytes) -> list[int]:
        """Returns the indices of the strings that begin with `byte`, without decoding strings."""
        data = np.frombuffer(self._data, np.uint8)
        filled = np.flatnonzero(np.diff(self._bounds) > _LENGTH.size)
        found: list[int] = filled[data[self._bounds[filled] + _LENGTH.size] == byte[0]].tolist()
        return found

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        return str(self._data[int(self._bounds[i]) + 8 : int(self._bounds[i + 1])], "utf-8", self._errors)

    def __iter__(self) -> Iterator[str]:
        if self.invalid is not None:
            for i in range(len(self)):
                yield self[i]
            return
        for first in range(0, len(self), _CHUNK):
            chunk = self._bounds[first : first + _CHUNK + 1]
            start = int(chunk[0])
            text = np.frombuffer(self._data[start : int(chunk[-1])], np.uint8).copy()
            lengths = chunk[:-1] - start
            kept = np.ones(len(text), np.bool_)
            for byte in range(7):
                kept[lengths + byte] = False
            text[lengths + 7] = 0
            # A NUL replaces each length, so one decoding and one split give all strings unless one has a NUL.
            strings = text[kept].tobytes().decode().split("\0")[1:]
            if len(strings) != len(lengths):
                strings = self[first : first + _CHUNK]
            yield from strings

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (StringArray, list, tuple)):
            return NotImplemented
        return len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(repr(text[:40]) for text in self[:3])
        return f"StringArray([{shown}{', …' if len(self) > 3 else ''}], {len(self)} strings)"
