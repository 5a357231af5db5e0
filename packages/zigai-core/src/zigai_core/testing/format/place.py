"""Where the tensors are in a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_LONG = 32
"""Bytes from which a tensor is searched for in a file; shorter ones may be found by chance."""


@dataclass(frozen=True)
class Place:
    """Bytes at which the first tensor of a file begins, and the last one ends.

    Of a file without tensors, its length and 0: it is all header.
    """

    begin: int
    end: int

    @classmethod
    def of(cls, content: bytes, tensors: Iterable[bytes]) -> Place:
        """Searches a file's content for the bytes of tensors."""
        places = [(content.find(each), len(each)) for each in tensors if len(each) >= _LONG]
        found = [(begin, begin + nbytes) for begin, nbytes in places if begin >= 0]
        if not found:
            return cls(len(content), 0)
        return cls(min(begin for begin, _ in found), max(end for _, end in found))
