"""Layout of a step's intermediate values in scratch memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ALIGNMENT = 64


@dataclass(frozen=True)
class Buffer:
    """A value that is alive from stage `first`, which computes it, to stage `last`, which reads it last."""

    name: str
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class MemoryPlan:
    """The byte offset of each buffer, and the number of bytes for all of them."""

    offsets: Mapping[str, int]
    nbytes: int


def plan_memory(buffers: Iterable[Buffer]) -> MemoryPlan:
    """Places buffers so that those with overlapping lifetimes have separate bytes, and others share theirs.

    Greedy by size (Pisarchyk and Lee, 2020, arXiv:2001.03288): largest first, each at the lowest offset that
    is free during its lifetime.
    """
    placed: list[tuple[int, int, Buffer]] = []
    for buffer in sorted(buffers, key=lambda b: (-b.nbytes, b.first)):
        size = -(-max(buffer.nbytes, 1) // ALIGNMENT) * ALIGNMENT
        offset = 0
        for start, end, other in sorted(placed, key=lambda p: p[0]):
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if start - offset >= size:
                break
            offset = max(offset, end)
        placed.append((offset, offset + size, buffer))
    return MemoryPlan(
        {buffer.name: start for start, _, buffer in placed}, max((end for _, end, _ in placed), default=0)
    )
