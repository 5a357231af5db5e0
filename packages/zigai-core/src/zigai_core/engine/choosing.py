"""Draws tokens from the output rows of a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.best import Best, Edits
from zigai_core.contracts.graph import Array
from zigai_core.contracts.plugins import Outputs
from zigai_core.engine.request import TokenLogprobs
from zigai_core.engine.sampling import Sampler


class OutputRow:
    """One row of the logits of a step, of which a sampler may draw the first `vocabulary` tokens."""

    def __init__(self, outputs: Outputs, row: int, vocabulary: int | None) -> None:
        self.logits: Array = outputs.rows("logits")[row]
        self._outputs = outputs
        self._row = row
        width = len(self.logits)
        self._vocabulary = min(vocabulary or width, width)

    def draw(self, sampler: Sampler) -> int:
        """Returns the token that the sampler draws."""
        return sampler.sample(self.logits, best=self.best)

    def best(self, k: int, edits: Edits | None = None, mask: NDArray[np.uint32] | None = None) -> Best:
        """Returns the k best among the first `vocabulary` tokens, by the program's own function."""
        return self._outputs.best(self._row, k, edits, mask, width=self._vocabulary)

    def logprobs(self, token: int, count: int) -> TokenLogprobs:
        """Returns the log-probabilities of a token and of the `count` most likely ones, without any edits."""
        row = self.logits[: self._vocabulary].astype(np.float64)
        most = row.max()
        total = most + np.log(np.exp(row - most).sum())
        top = self.best(count) if count else None
        ids = () if top is None else tuple(top.ids.tolist())
        return TokenLogprobs(
            token, float(row[token] - total), ids, tuple(float(row[each] - total) for each in ids)
        )
