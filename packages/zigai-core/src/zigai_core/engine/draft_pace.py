"""How many draft tokens to compute in a step."""

from __future__ import annotations

from zigai_core.engine.request import MOST_DRAFT_TOKENS


class DraftPace:
    """Proposes more draft tokens while they are accepted, and none for a while after they are rejected.

    A draft token that is rejected costs a part of a step. A round that is accepted whole doubles the number,
    up to `most`; one of which less than half is accepted halves it. Below one, drafting pauses, each time for
    twice as many tokens.
    """

    __slots__ = ("_count", "_last_pause", "_most", "_pause")

    def __init__(self, most: int = MOST_DRAFT_TOKENS) -> None:
        self._most = most
        self._count = min(4, most)
        self._pause = 0
        self._last_pause = 4

    def next(self) -> int:
        """Returns the number of tokens to propose now."""
        if self._pause:
            self._pause -= 1
            return 0
        return self._count

    def update(self, proposed: int, accepted: int) -> None:
        """Takes the result of a round into account."""
        if accepted == proposed:
            self._count = min(self._most, 2 * self._count)
            self._last_pause = 4
        elif 2 * accepted < proposed:
            self._count //= 2
            if not self._count:
                self._count = 1
                self._pause = self._last_pause
                self._last_pause = min(256, 2 * self._last_pause)
