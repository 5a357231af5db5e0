"""The built-in steps of the row stage, after llama.cpp's `llama-sampler.cpp`."""

from __future__ import annotations

import numpy as np

from zigai_core.contracts.batch import IN_PLACE
from zigai_core.contracts.errors import SamplingError
from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.sampling import Row, RowStep


class LogitBias:
    """Adds a bias to the logits of some tokens. Raises `SamplingError` for one outside the vocabulary."""

    def __init__(self, options: SamplingOptions) -> None:
        self._ids = [int(token) for token in options.logit_bias]
        self._biases = np.array([float(bias) for bias in options.logit_bias.values()])

    def edit(self, row: Row) -> None:
        """Add the biases."""
        if max(self._ids) >= row.vocabulary:
            raise SamplingError(
                f"logit_bias names token {max(self._ids)}; the vocabulary has {row.vocabulary} tokens"
            )
        row.write(self._ids, row.read(self._ids) + self._biases)


class Penalties:
    """Makes recent tokens less likely.

    The repeat penalty is CTRL's (https://arxiv.org/abs/1909.05858) with llama.cpp's correction: a negative
    logit is multiplied, not divided. Frequency and presence penalties are those of OpenAI's API.
    """

    def __init__(self, options: SamplingOptions) -> None:
        self._repeat = float(options.repeat_penalty)
        self._frequency = float(options.frequency_penalty)
        self._presence = float(options.presence_penalty)
        self._last_n = int(options.penalty_last_n)

    def edit(self, row: Row) -> None:
        """Penalise the last `penalty_last_n` tokens; all for -1."""
        recent = _last(row, self._last_n)
        recent = recent[recent != IN_PLACE]  # embeddings are no tokens
        if not len(recent):
            return
        ids, counts = np.unique(recent, return_counts=True)
        logits = row.read(ids)
        logits = np.where(logits > 0, logits / self._repeat, logits * self._repeat)
        logits = np.clip(logits, -_MOST, _MOST)
        row.write(ids, logits - np.clip(counts * self._frequency + self._presence, -_MOST, _MOST))


class Dry:
    """Don't repeat yourself (p-e-w, https://github.com/oobabooga/text-generation-webui/pull/5677).

    If the last n tokens, at least the allowed length, also came before an earlier occurrence of a token, so
    that it would extend the repetition, its logit is lowered by multiplier · base^(n - allowed length), for
    the largest such n. Repetitions do not extend across breaker tokens, and breakers are not penalised.
    Embeddings in place of tokens are breakers.
    """

    def __init__(self, options: SamplingOptions) -> None:
        self._multiplier = float(options.dry_multiplier)
        self._base = float(options.dry_base)
        self._allowed = int(options.dry_allowed_length)
        self._last_n = int(options.dry_penalty_last_n)
        self._breakers = frozenset(options.dry_breaker_tokens or ()) | {IN_PLACE}

    def edit(self, row: Row) -> None:
        """Penalise the tokens that would extend a repetition."""
        recent = _last(row, self._last_n)[::-1].tolist()  # the latest first
        longest: dict[int, int] = {}
        limit = next((i for i, token in enumerate(recent) if token in self._breakers), len(recent))
        for start, length in enumerate(prefix_matches(recent)):
            length = min(length, limit)
            if start and length >= self._allowed and recent[start - 1] not in self._breakers:
                token = recent[start - 1]
                longest[token] = max(length, longest.get(token, 0))
        if not longest:
            return
        ids = list(longest)
        lengths = np.array([longest[token] for token in ids], np.float64)
        with np.errstate(over="ignore"):
            penalties = self._multiplier * self._base ** (lengths - self._allowed)
        row.write(ids, row.read(ids) - np.minimum(penalties, _MOST))


class TopNSigma:
    """Keeps tokens whose logit is within n standard deviations of the largest.

    https://arxiv.org/abs/2411.07641. The deviation is that of all logits that are not ruled out.
    """

    def __init__(self, options: SamplingOptions) -> None:
        self._n = float(options.top_n_sigma)

    def edit(self, row: Row) -> None:
        """Rule out all other tokens."""
        logits = row.logits()
        left = logits[logits > -np.inf].astype(np.float64)
        if len(left):
            row.keep(logits >= left.max() - min(self._n, _MOST) * left.std())


_MOST = 1e300
"""Bound on penalties and factors: float64 stays finite if a float32 logit is added to it."""


def prefix_matches(tokens: list[int]) -> list[int]:
    """The Z-function: by index, the length of the longest common prefix of `tokens` and `tokens[index:]`.

    Index 0 has 0. Linear in time (D. Gusfield, Algorithms on Strings, Trees, and Sequences, 1997, 1.4).
    """
    count = len(tokens)
    found = [0] * count
    start = end = 0
    for i in range(1, count):
        length = min(found[i - start], end - i) if i < end else 0
        while i + length < count and tokens[length] == tokens[i + length]:
            length += 1
        found[i] = length
        if i + length > end:
            start, end = i, i + length
    return found


def _last(row: Row, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    recent = row.history[-count:] if count > 0 else row.history
    return np.array(recent, np.int64)


def logit_bias(options: SamplingOptions) -> RowStep | None:
    """Factory of `LogitBias`; None without a bias."""
    return LogitBias(options) if options.logit_bias else None


def penalties(options: SamplingOptions) -> RowStep | None:
    """Factory of `Penalties`; None if all penalties are neutral."""
    neutral = options.repeat_penalty == 1 and options.frequency_penalty == 0 == options.presence_penalty
    return None if neutral or options.penalty_last_n == 0 else Penalties(options)


def dry(options: SamplingOptions) -> RowStep | None:
    """Factory of `Dry`; None for a multiplier of 0."""
    return Dry(options) if options.dry_multiplier > 0 and options.dry_penalty_last_n != 0 else None


def top_n_sigma(options: SamplingOptions) -> RowStep | None:
    """Factory of `TopNSigma`; None for n of at most 0."""
    return TopNSigma(options) if options.top_n_sigma > 0 else None
