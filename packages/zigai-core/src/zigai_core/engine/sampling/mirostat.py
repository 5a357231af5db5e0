"""Mirostat: truncates the distribution so that the surprise of drawn tokens stays near a target.

Basu et al. 2020, https://arxiv.org/abs/2007.14966, in the two versions of llama.cpp's `llama-sampler.cpp`.
Surprise is -log2 of the probability, in bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.sampling import Candidates, CandidateStep, Draw

ESTIMATED = 100
"""Number of most likely tokens from which version 1 estimates the exponent of Zipf's law."""

FAR = 1e6
"""Bound on surprises, in bits, that keeps sums finite: larger ones have the same effect."""


class MirostatState(NamedTuple):
    """Maximum surprise of the next token in bits (μ in the paper), and the last distribution drawn from."""

    most: float
    ids: NDArray[np.int32] | None = None
    probabilities: NDArray[np.float64] | None = None


class Mirostat:
    """Both versions. After each token, eta · (its surprise - tau) is subtracted from the maximum surprise."""

    def __init__(self, options: SamplingOptions) -> None:
        self._target = min(float(options.mirostat_tau), FAR)
        self._rate = min(float(options.mirostat_eta), FAR)
        self._version = options.mirostat
        self.state: MirostatState = MirostatState(2 * self._target)

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Truncate the distribution; at least one candidate is kept."""
        kept = self._by_rank(candidates) if self._version == 1 else self._by_surprise(candidates)
        self.state = MirostatState(self.state.most, kept.ids, kept.probabilities())
        return kept

    def accept(self, token: int) -> None:
        """Update the maximum surprise, if the token was among the candidates of the last `choose`."""
        most, ids, probabilities = self.state
        if ids is None or probabilities is None:
            return
        places = np.flatnonzero(ids == token)
        if len(places):
            surprise = -math.log2(max(float(probabilities[places[0]]), 1e-300))
            most = min(FAR, max(-FAR, most - self._rate * (surprise - self._target)))
        self.state = MirostatState(most)

    def _by_surprise(self, candidates: Candidates) -> Candidates:
        """Version 2: the candidates whose surprise is at most the maximum."""
        kept = candidates.probabilities() >= 2.0 ** min(1023.0, max(-1074.0, -self.state.most))
        return candidates.keep(kept) if kept.any() else candidates.first(1)

    def _by_rank(self, candidates: Candidates) -> Candidates:
        """Version 1: as many candidates as have at most the maximum surprise by Zipf's law.

        The exponent of the law is estimated by least squares.
        """
        logits = candidates.first(ESTIMATED).logits.astype(np.float64)
        falls = logits[:-1] - logits[1:]
        steps = np.log(np.arange(2, len(logits) + 1) / np.arange(1, len(logits)))
        slope = float(steps @ falls / (steps @ steps)) if len(falls) else 0.0
        return candidates.first(min(len(candidates), self._count(slope, len(candidates))))

    def _count(self, slope: float, size: int) -> int:
        """k = ((s - 1) · 2^most / (1 - size^(1 - s)))^(1 / s), computed in logarithms to avoid overflow."""
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
            # as (1 - s) / (size^(1 - s) - 1), whose power may be too large to compute directly
            power = -excess * math.log(size)
            factor = math.log(-excess) - (power + math.log(-math.expm1(-power)))
        exponent = (factor + self.state.most * math.log(2)) / slope
        return max(1, int(math.exp(min(exponent, math.log(size) + 1))))


def mirostat(options: SamplingOptions) -> CandidateStep | None:
    """Factory of `Mirostat`; None for version 0."""
    return Mirostat(options) if options.mirostat else None
