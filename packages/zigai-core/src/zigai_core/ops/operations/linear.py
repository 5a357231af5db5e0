"""Embedding lookup and matrix products with weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.batch import IN_PLACE
from zigai_core.contracts.graph import Array, Operation, Step, Value, Weight


@dataclass(frozen=True, eq=False)
class Embedding(Operation):
    """The rows of `weight`, `[vocabulary, width]`, for the step's tokens: `[tokens, width]`.

    Zeros for the token -1, which stands for a row of `Batch.embeddings`: `Inputs` replaces them.
    """

    weight: Weight

    @property
    def token_limit(self) -> int:
        return self.weight.shape[0]

    def evaluate(self, step: Step) -> Array:
        tokens = step.batch.tokens
        if step.batch.embeddings is None:
            return step.weight_rows(self.weight, tokens)
        own = tokens != IN_PLACE
        rows = np.zeros((len(tokens), self.output.width), np.float32)
        rows[own] = step.weight_rows(self.weight, tokens[own])
        return rows


@dataclass(frozen=True, eq=False)
class Linear(Operation):
    """`x · weightᵀ + bias`: `[rows, inputs]` to `[rows, outputs]`.

    `weight` is `[outputs, inputs]`, `bias` `[outputs]` or None.
    """

    x: Value
    weight: Weight
    bias: Weight | None = None

    def evaluate(self, step: Step) -> Array:
        y: Array = step[self.x] @ step.weight(self.weight).T
        return y if self.bias is None else y + step.weight(self.bias)
