"""Where the tensors are in a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_LONG = 32
"""Bytes from which a tensor is searched for in a file; shorter ones may be found by chance."""


@dataclass(frozen=True)
class Place:
    """The bytes of a file that are no tensor's data, in their order, and the end of the last tensor.

    Of a file without tensors, all of its bytes, and 0.
    """

    spans: tuple[range, ...]
    end: int

    @classmethod
    def of(cls, content: bytes, tensors: Iterable[bytes]) -> Place:
        """Searches a file's content for the bytes of tensors.

        What is not found as it was read (data that was transposed, short tensors) counts as no data.
        """
        places = [(content.find(each), len(each)) for each in tensors if len(each) >= _LONG]
        spans, end = [], 0
        for begin, nbytes in sorted(each for each in places if each[0] >= 0):
            if end < begin:
                spans.append(range(end, begin))
            end = max(end, begin + nbytes)
        if end < len(content):
            spans.append(range(end, len(content)))
        return cls(tuple(spans), end)
