"""The steps of the candidate stage, as llama.cpp's `llama-sampler.cpp` has them.

Where mirostat is on it takes the place of those that cut off a tail.
"""

from __future__ import annotations

import math

import numpy as np

from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.sampling import Candidates, CandidateStep, Draw
from zigai_core.engine.sampling.selection import largest_reaching

SMALLEST = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)


class TopK:
    """Keeps the k likeliest tokens (https://arxiv.org/abs/1805.04833); of equals, the lowest ids."""

    def __init__(self, options: SamplingOptions) -> None:
        self._k = int(options.top_k)

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Keep them."""
        return candidates.first(self._k)


class TypicalP:
    """Keeps the tokens whose surprise is nearest to the entropy, until they have p (https://arxiv.org/abs/2202.00666)."""

    def __init__(self, options: SamplingOptions) -> None:
        self._p = float(options.typical_p)

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Keep them, at least one."""
        probabilities = candidates.probabilities()
        surprise = -np.log(np.maximum(probabilities, 1e-300))
        distance = np.abs(surprise - (probabilities * surprise).sum()).astype(np.float32)
        return candidates.keep(largest_reaching(-distance, candidates.weights, self._p, beyond=True))


class TopP:
    """Keeps the smallest set of likeliest tokens that reaches p (https://arxiv.org/abs/1904.09751)."""

    def __init__(self, options: SamplingOptions) -> None:
        self._p = float(options.top_p)

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Keep them, at least one."""
        if not candidates.ranked:
            return candidates.keep(largest_reaching(candidates.logits, candidates.weights, self._p))
        cumulative = np.cumsum(candidates.weights(slice(None)))
        return candidates.first(int(np.searchsorted(cumulative, self._p * cumulative[-1])) + 1)


class MinP:
    """Keeps tokens whose probability is at least p times the greatest (https://arxiv.org/abs/2407.01082)."""

    def __init__(self, options: SamplingOptions) -> None:
        self._distance = np.float32(math.log(options.min_p))

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Keep them."""
        logits = candidates.logits
        return candidates.keep(logits >= logits.max() + self._distance)


class Xtc:
    """Now and then leaves out the likeliest: of those that reach the threshold only the least likely stays.

    "Exclude top choices" (p-e-w, https://github.com/oobabooga/text-generation-webui/pull/6335).
    """

    def __init__(self, options: SamplingOptions) -> None:
        self._probability = float(options.xtc_probability)
        self._threshold = float(options.xtc_threshold)

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Leave them out, as often as the probability says."""
        if draw() >= self._probability or len(candidates) < 2:
            return candidates
        kept = candidates.probabilities() < self._threshold
        top = np.flatnonzero(~kept)
        if len(top) < 2:
            return candidates
        least = candidates.logits[top][::-1].argmin()  # of equals the one that is ranked last
        kept[top[len(top) - 1 - least]] = True
        return candidates.keep(kept)


class Temperature:
    """Divides the logits by the temperature; at 0, keeps the likeliest token alone.

    With a range it is dynamic (https://arxiv.org/abs/2309.02772): from temperature - range to temperature +
    range as the entropy, over that of equal probabilities and to the power of the exponent, goes from 0 to 1.
    """

    def __init__(self, options: SamplingOptions) -> None:
        self._temperature = min(float(options.temperature), LARGEST)
        self._range = min(float(options.dynatemp_range), LARGEST)
        self._exponent = float(options.dynatemp_exponent)

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Divide."""
        divisor = self._dynamic(candidates) if self._range else self._temperature
        if divisor < SMALLEST:
            return candidates.first(1)
        logits = candidates.logits
        # Only differences matter, and those of the largest are 0 however small the divisor is.
        scaled = logits - logits.max()
        scaled /= np.float32(min(divisor, LARGEST))
        return candidates.with_logits(scaled)

    def _dynamic(self, candidates: Candidates) -> float:
        if len(candidates) < 2:
            return max(self._temperature, SMALLEST)
        probabilities = candidates.probabilities()
        entropy = -float((probabilities * np.log(np.maximum(probabilities, 1e-300))).sum())
        part = min(1.0, max(0.0, entropy / math.log(len(candidates))))
        low, high = max(0.0, self._temperature - self._range), self._temperature + self._range
        return float(low + (high - low) * part**self._exponent)


def top_k(options: SamplingOptions) -> CandidateStep | None:
    """`TopK`; None for 0."""
    return TopK(options) if options.top_k and not options.mirostat else None


def typical_p(options: SamplingOptions) -> CandidateStep | None:
    """`TypicalP`; None for 1."""
    return TypicalP(options) if options.typical_p < 1 and not options.mirostat else None


def top_p(options: SamplingOptions) -> CandidateStep | None:
    """`TopP`; None for 1."""
    return TopP(options) if options.top_p < 1 and not options.mirostat else None


def min_p(options: SamplingOptions) -> CandidateStep | None:
    """`MinP`; None for 0."""
    return MinP(options) if options.min_p > 0 and not options.mirostat else None


def xtc(options: SamplingOptions) -> CandidateStep | None:
    """`Xtc`; None for a probability of 0, and for a threshold that no two tokens can reach."""
    wanted = options.xtc_probability > 0 and options.xtc_threshold <= 0.5
    return Xtc(options) if wanted and not options.mirostat else None


def temperature(options: SamplingOptions) -> CandidateStep | None:
    """`Temperature`; None for 1."""
    return None if options.temperature == 1 and options.dynatemp_range == 0 else Temperature(options)
