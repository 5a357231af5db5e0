"""How many tokens of prompts a step may compute beside running streams: chosen by measured cost."""

from __future__ import annotations

LONGEST = 2.7
"""A step with tokens of prompts is to take at most so many times as long as one without, so that a running
stream waits at most three times as long as usual between two tokens. After thousands of tokens, `LEAST` rows
take longer than that (docs/performance.md)."""

FIRST = 32
"""Tokens of prompts in a step before the costs are known."""

LEAST = 6
"""Fewest tokens of prompts in a step, so that prompts go on whatever is measured. After thousands of tokens,
reading their keys and values is most of a step's cost, and equal for one token and for several."""

_WEIGHT = 0.2
"""The weight of a new measurement in the running mean."""


class StepCost:
    """Running means of the seconds of a step without tokens of prompts, and of each such token.

    >>> cost = StepCost()
    >>> cost.update(decode=4, prefill=0, seconds=0.1)
    >>> cost.update(decode=4, prefill=100, seconds=0.6)
    >>> cost.chunk(512)
    34
    """

    __slots__ = ("_decode", "_token")

    def __init__(self) -> None:
        self._decode: float | None = None
        self._token: float | None = None

    def chunk(self, most: int) -> int:
        """Returns the number of tokens of prompts in a step with running streams, at most `most`."""
        if self._decode is None or self._token is None:
            return min(FIRST, most)
        room = (LONGEST - 1) * self._decode / max(self._token, 1e-9)
        return min(most, max(LEAST, int(room + 1e-6)))

    def update(self, decode: int, prefill: int, seconds: float) -> None:
        """Takes a step with so many rows of running streams and of prompts into account."""
        if not prefill:
            self._decode = _mean(self._decode, seconds)
        elif not decode:
            self._token = _mean(self._token, seconds / prefill)
        elif self._decode is not None:
            self._token = _mean(self._token, max(0.0, seconds - self._decode) / prefill)


def _mean(mean: float | None, value: float) -> float:
    return value if mean is None else mean + _WEIGHT * (value - mean)
