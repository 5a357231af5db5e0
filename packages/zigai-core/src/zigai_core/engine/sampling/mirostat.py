"""Mirostat: cuts the tail so that the surprise of what is drawn stays near a target.

Basu et al. 2020, https://arxiv.org/abs/2007.14966, in the two versions of llama.cpp's `llama-sampler.cpp`.
Surprises are in bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.sampling import Candidates, CandidateStep, Draw

ESTIMATED = 100
"""Of how many of the likeliest tokens version 1 estimates how fast probabilities fall."""

FAR = 1e6
"""Surprises beyond it differ in nothing."""


class MirostatState(NamedTuple):
    """The surprise that a token may have, and what was left to draw from last."""

    most: float
    ids: NDArray[np.int32] | None = None
    probabilities: NDArray[np.float64] | None = None


class Mirostat:
    """Either version: the error of each token's surprise, times eta, goes off what the next may have."""

    def __init__(self, options: SamplingOptions) -> None:
        self._target = min(float(options.mirostat_tau), FAR)
        self._rate = min(float(options.mirostat_eta), FAR)
        self._version = options.mirostat
        self.state: MirostatState = MirostatState(2 * self._target)

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Cut the tail off; at least one stays."""
        kept = self._by_rank(candidates) if self._version == 1 else self._by_surprise(candidates)
        self.state = MirostatState(self.state.most, kept.ids, kept.probabilities())
        return kept

    def accept(self, token: int) -> None:
        """Learn from the surprise of the token, if it was among those that were left."""
        most, ids, probabilities = self.state
        if ids is None or probabilities is None:
            return
        places = np.flatnonzero(ids == token)
        if len(places):
            surprise = -math.log2(max(float(probabilities[places[0]]), 1e-300))
            most = min(FAR, max(-FAR, most - self._rate * (surprise - self._target)))
        self.state = MirostatState(most)

    def _by_surprise(self, candidates: Candidates) -> Candidates:
        """Version 2: those whose surprise is at most that."""
        kept = candidates.probabilities() >= 2.0 ** min(1023.0, max(-1074.0, -self.state.most))
        return candidates.keep(kept) if kept.any() else candidates.first(1)

    def _by_rank(self, candidates: Candidates) -> Candidates:
        """Version 1: as many as have it if probabilities fall with the rank by Zipf's law."""
        logits = candidates.first(ESTIMATED).logits.astype(np.float64)
        falls = logits[:-1] - logits[1:]
        steps = np.log(np.arange(2, len(logits) + 1) / np.arange(1, len(logits)))
        slope = float(steps @ falls / (steps @ steps)) if len(falls) else 0.0
        return candidates.first(min(len(candidates), self._count(slope, len(candidates))))

    def _count(self, slope: float, size: int) -> int:
        """k = ((s - 1) · 2^most / (1 - size^(1 - s)))^(1 / s), in logarithms, so that nothing overflows."""
        excess = slope - 1
        if size == 1:
            return 1
        if slope <= 0:  # the power is infinite
            return size if self.state.most >= math.log2(size - 1) else 1
        if abs(excess) * math.log(size) < 1e-9:
            factor = -math.log(math.log(size))  # the limit at s = 1
        elif excess > 0:
            factor = math.log(excess) - math.log(-math.expm1(-excess * math.log(size)))
        else:
            # (1 - s) / (size^(1 - s) - 1), whose power may be large
            power = -excess * math.log(size)
            factor = math.log(-excess) - (power + math.log(-math.expm1(-power)))
        exponent = (factor + self.state.most * math.log(2)) / slope
        return max(1, int(math.exp(min(exponent, math.log(size) + 1))))


def mirostat(options: SamplingOptions) -> CandidateStep | None:
    """`Mirostat` of version 1 or 2; None for 0."""
    return Mirostat(options) if options.mirostat else None
