"""KL divergence between the next-token distributions of two backends, and perplexity.

Logits are float32 `[tokens, vocabulary]`; everything is computed in float64. Sources: S. Kullback and
R. A. Leibler, "On information and sufficiency", 1951; F. Jelinek et al., "Perplexity", 1977.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import ShapeError

Logits = NDArray[np.floating[Any]]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """A mean and its standard error, which assumes that the values are independent."""

    value: float
    error: float

    @classmethod
    def of(cls, values: Numbers) -> Mean:
        """Returns the mean of at least two values. Raises `ShapeError` if there are fewer."""
        if values.size < 2:
            raise ShapeError(f"a standard error needs at least 2 values, but there are {values.size}")
        return cls(float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size)))


def log_softmax(logits: Logits) -> Numbers:
    """Returns the natural logarithms of the probabilities: float64 of the same shape."""
    shifted: Numbers = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def kl_divergence(reference: Logits, logits: Logits) -> Numbers:
    """Returns KL(reference ‖ logits) of each row, in nats: float64 `[tokens]`, 0 for equal distributions.

    Raises `ShapeError` if the shapes differ.

    >>> kl_divergence(np.array([[0.0, 0.0]]), np.log(np.array([[0.5, 0.5]]))).tolist()
    [0.0]
    """
    if reference.shape != logits.shape:
        raise ShapeError(f"logits have shape {logits.shape}, but the reference has {reference.shape}")
    expected, found = log_softmax(reference), log_softmax(logits)
    divergence: Numbers = (np.exp(expected) * (expected - found)).sum(axis=-1)
    return np.maximum(divergence, 0.0)  # rounding can leave -1e-17


def surprise(logits: Logits, tokens: Sequence[int]) -> Numbers:
    """Returns the surprise of each token but the first, in nats: float64 `[tokens - 1]`.

    That is -log of the token's probability by the logits of the row before it. Raises `ShapeError` if there
    is not a row of logits for each token.
    """
    if len(logits) != len(tokens):
        raise ShapeError(f"there are {len(logits)} rows of logits for {len(tokens)} tokens")
    return surprise_of(logits[:-1], tokens[1:])


def surprise_of(logits: Logits, targets: Sequence[int] | NDArray[np.integer[Any]]) -> Numbers:
    """Returns the surprise of `targets[i]` by the logits of row i, in nats: float64 `[len(targets)]`.

    Row by row, which stays in the CPU's cache: three times as fast as `log_softmax` of large vocabularies.

    >>> surprise_of(np.log(np.array([[0.25, 0.75]])), [0]).round(4).tolist()
    [1.3863]
    """
    found = np.empty(len(targets))
    for row, target in enumerate(targets):
        numbers = logits[row].astype(np.float64)
        most = numbers.max()
        found[row] = np.log(np.exp(numbers - most).sum()) + most - numbers[target]
    return found


def perplexity(nats: Numbers) -> Mean:
    """Returns the perplexity, exp of the mean of `surprise`, and its error to first order."""
    mean = Mean.of(nats)
    value = float(np.exp(mean.value))
    return Mean(value, value * mean.error)
