"""The built-in steps of the candidate stage, after llama.cpp's `llama-sampler.cpp`.

If mirostat is on, it replaces the steps that truncate the distribution.
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
    """Keeps the k most likely tokens (https://arxiv.org/abs/1805.04833); of equal ones, the lowest ids."""

    def __init__(self, options: SamplingOptions) -> None:
        self._k = int(options.top_k)

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Keep the k most likely."""
        return candidates.first(self._k)


class TypicalP:
    """Locally typical sampling (https://arxiv.org/abs/2202.00666).

    Keeps the tokens whose surprise, -log probability, is nearest to the entropy, until their probabilities
    add up to more than p.
    """

    def __init__(self, options: SamplingOptions) -> None:
        self._p = float(options.typical_p)

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Keep the typical tokens, at least one."""
        probabilities = candidates.probabilities()
        surprise = -np.log(np.maximum(probabilities, 1e-300))
        distance = np.abs(surprise - (probabilities * surprise).sum()).astype(np.float32)
        return candidates.keep(largest_reaching(-distance, candidates.weights, self._p, beyond=True))


class TopP:
    """Nucleus sampling (https://arxiv.org/abs/1904.09751).

    Keeps the smallest set of most likely tokens whose probabilities add up to p or more.
    """

    def __init__(self, options: SamplingOptions) -> None:
        self._p = float(options.top_p)

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Keep the nucleus, at least one token."""
        if not candidates.ranked:
            return candidates.keep(largest_reaching(candidates.logits, candidates.weights, self._p))
        cumulative = candidates.weights(slice(None)).cumsum()
        return candidates.first(int(cumulative.searchsorted(self._p * cumulative[-1])) + 1)


class MinP:
    """Keeps tokens whose probability is at least p times the largest one (https://arxiv.org/abs/2407.01082)."""

    def __init__(self, options: SamplingOptions) -> None:
        self._distance = np.float32(math.log(options.min_p))

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Keep the tokens above the threshold."""
        logits = candidates.logits
        if candidates.ranked:
            return candidates.first(int(np.count_nonzero(logits >= logits[0] + self._distance)))
        return candidates.keep(logits >= logits.max() + self._distance)


class Xtc:
    """Exclude top choices (p-e-w, https://github.com/oobabooga/text-generation-webui/pull/6335).

    With the given probability, drops all tokens whose probability reaches the threshold but the least likely
    of them.
    """

    def __init__(self, options: SamplingOptions) -> None:
        self._probability = float(options.xtc_probability)
        self._threshold = float(options.xtc_threshold)

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Drop the top choices, if the draw is below the probability and there are two or more."""
        if draw() >= self._probability or len(candidates) < 2:
            return candidates
        kept = candidates.probabilities() < self._threshold
        top = np.flatnonzero(~kept)
        if len(top) < 2:
            return candidates
        least = candidates.logits[top][::-1].argmin()  # of equal ones the last in rank
        kept[top[len(top) - 1 - least]] = True
        return candidates.keep(kept)


class Temperature:
    """Divides the logits by the temperature; at 0, keeps only the most likely token.

    With a range r the temperature is dynamic (https://arxiv.org/abs/2309.02772): from temperature - r to
    temperature + r as h^exponent goes from 0 to 1, where h is the entropy divided by its maximum, that of
    equal probabilities.
    """

    def __init__(self, options: SamplingOptions) -> None:
        self._temperature = min(float(options.temperature), LARGEST)
        self._range = min(float(options.dynatemp_range), LARGEST)
        self._exponent = float(options.dynatemp_exponent)

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Scale the logits, or keep the most likely token."""
        divisor = self._dynamic(candidates) if self._range else self._temperature
        if divisor < SMALLEST:
            return candidates.first(1)
        logits = candidates.logits
        # Only differences of logits matter. Subtracting the largest first keeps it finite for a tiny divisor.
        scaled = logits - (logits[0] if candidates.ranked else logits.max())
        scaled /= np.float32(min(divisor, LARGEST))
        return candidates.with_logits(scaled)

    def _dynamic(self, candidates: Candidates) -> float:
        if len(candidates) < 2:
            return max(self._temperature, SMALLEST)
        probabilities = candidates.probabilities()
        entropy = -float((probabilities * np.log(np.maximum(probabilities, 1e-300))).sum())
        share = min(1.0, max(0.0, entropy / math.log(len(candidates))))
        low, high = max(0.0, self._temperature - self._range), self._temperature + self._range
        return float(low + (high - low) * share**self._exponent)


def top_k(options: SamplingOptions) -> CandidateStep | None:
    """Factory of `TopK`; None for k = 0 or with mirostat."""
    return TopK(options) if options.top_k and not options.mirostat else None


def typical_p(options: SamplingOptions) -> CandidateStep | None:
    """Factory of `TypicalP`; None for p = 1 or with mirostat."""
    return TypicalP(options) if options.typical_p < 1 and not options.mirostat else None


def top_p(options: SamplingOptions) -> CandidateStep | None:
    """Factory of `TopP`; None for p = 1 or with mirostat."""
    return TopP(options) if options.top_p < 1 and not options.mirostat else None


def min_p(options: SamplingOptions) -> CandidateStep | None:
    """Factory of `MinP`; None for p = 0 or with mirostat."""
    return MinP(options) if options.min_p > 0 and not options.mirostat else None


def xtc(options: SamplingOptions) -> CandidateStep | None:
    """Factory of `Xtc`; None for a probability of 0, a threshold above 0.5, or with mirostat.

    No two tokens can reach a threshold above 0.5.
    """
    effective = options.xtc_probability > 0 and options.xtc_threshold <= 0.5
    return Xtc(options) if effective and not options.mirostat else None


def temperature(options: SamplingOptions) -> CandidateStep | None:
    """Factory of `Temperature`; None for a temperature of 1 without a range."""
    return None if options.temperature == 1 and options.dynatemp_range == 0 else Temperature(options)
