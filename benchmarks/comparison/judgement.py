"""Compares the accuracy of two systems, each measured against the float32 oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comparison.passages import Passage
from zigai_core.testing.divergence import (
    Logits,
    Mean,
    Numbers,
    kl_divergence,
    perplexity,
    surprise,
)

ERRORS = 2
"""Number of standard errors by which a mean may be larger without counting as worse."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Accuracy of a system, in nats per token."""

    divergence: Numbers
    """KL(oracle ‖ system) of the distribution after each token."""
    surprise: Numbers
    """The system's -log probability of each token that counts."""

    @classmethod
    def of(cls, texts: Sequence[Passage], oracle: Sequence[Logits], system: Sequence[Logits]) -> Judged:
        """Compute it from the logits of every passage. Raises `ShapeError` if their shapes do not match."""
        return cls(
            np.concatenate([kl_divergence(*pair) for pair in zip(oracle, system, strict=True)]),
            np.concatenate(
                [
                    surprise(logits, text.tokens)[text.counted - 1 :]
                    for logits, text in zip(system, texts, strict=True)
                ]
            ),
        )

    @property
    def kl(self) -> Mean:
        """The mean divergence, in nats."""
        return Mean.of(self.divergence)

    @property
    def perplexity(self) -> Mean:
        """The perplexity on all passages together."""
        return perplexity(self.surprise)

    def no_worse_than(self, other: Judged) -> bool:
        """True if neither mean is more than `ERRORS` standard errors above the other system's.

        The errors are those of the differences per token: both systems have the same tokens, so that a token
        that is hard for both does not increase them.
        """
        return all(
            mean.value <= ERRORS * mean.error
            for mean in (
                Mean.of(self.divergence - other.divergence),
                Mean.of(self.surprise - other.surprise),
            )
        )
