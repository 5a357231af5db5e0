"""The deadlines of requests."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from zigai_core.engine.sequence import Sequence
from zigai_core.engine.stream import Channel


class Deadlines:
    """A heap of deadlines. Entries of requests that have ended are dropped when they are half of it."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Channel]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, sequence: Sequence) -> None:
        """Notes the deadline of a sequence, if it has one."""
        if sequence.request.deadline is not None:
            heapq.heappush(self._heap, (sequence.request.deadline, sequence.arrival, sequence.channel))

    def passed(self, now: float, sequences: Mapping[Channel, Sequence]) -> Sequence | None:
        """Returns one of `sequences` whose deadline has passed, or None. The caller then ends it."""
        while self._heap and self._heap[0][0] <= now:
            sequence = sequences.get(self._heap[0][2])
            if sequence is not None:
                return sequence
            heapq.heappop(self._heap)
        return None

    def tidy(self, sequences: Mapping[Channel, Sequence]) -> None:
        """Drops entries of requests that have ended, if they are many."""
        if len(self._heap) > 2 * len(sequences) + 16:
            self._heap = [entry for entry in self._heap if entry[2] in sequences]
            heapq.heapify(self._heap)

    def check(self, sequences: Mapping[Channel, Sequence]) -> None:
        """Raises `AssertionError` unless every deadline of these sequences is noted."""
        noted = {entry[2] for entry in self._heap}
        for sequence in sequences.values():
            assert sequence.request.deadline is None or sequence.channel in noted, "a deadline is lost"
