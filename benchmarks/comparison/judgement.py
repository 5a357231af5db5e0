"""Whether one system's numbers are as good as another's, both measured against the float32 oracle."""

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
"""Standard errors by which a mean may be worse before it is called so."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A system's logits beside the oracle's: nats for each token."""

    divergence: Numbers
    """KL(oracle ‖ system) of the distribution after each token."""
    surprise: Numbers
    """By which each token that counts surprises the system."""

    @classmethod
    def of(cls, texts: Sequence[Passage], oracle: Sequence[Logits], system: Sequence[Logits]) -> Judged:
        """Of the logits of every passage. `ShapeError` where they do not belong together."""
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
        """On all passages together."""
        return perplexity(self.surprise)

    def no_worse_than(self, other: Judged) -> bool:
        """Whether neither mean is more than two standard errors above the other's.

        The errors are those of the differences token by token: both have seen the same tokens, so what makes
        a token hard for both does not widen them.
        """
        return all(
            mean.value <= ERRORS * mean.error
            for mean in (
                Mean.of(self.divergence - other.divergence),
                Mean.of(self.surprise - other.surprise),
            )
        )
