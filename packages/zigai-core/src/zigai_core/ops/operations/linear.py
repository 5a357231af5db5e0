"""Embedding lookup and matrix products with weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.batch import IN_PLACE
from zigai_core.contracts.graph import Array, Operation, Step, Value, Weight


@dataclass(frozen=True, eq=False)
class Embedding(Operation):
    """The rows of `weight`, `[vocabulary, width]`, for the step's tokens: `[tokens, width]`.

    Tokens whose ids the table does not have read the row `beyond`; if it is None, there must be none.
    Zeros for the token -1, which stands for a row of `Batch.embeddings`: `Inputs` replaces them.
    """

    weight: Weight
    beyond: int | None = None

    @property
    def token_limit(self) -> int | None:
        return self.weight.shape[0] if self.beyond is None else None

    def fault(self) -> str | None:
        """Returns why the row for other tokens is invalid; None if it is valid."""
        rows = self.weight.shape[0]
        if self.beyond is None or (type(self.beyond) is int and 0 <= self.beyond < rows):
            return None
        return f"its row for other tokens is {self.beyond!r}, but {self.weight.name} has {rows}"

    def evaluate(self, step: Step) -> Array:
        tokens = step.batch.tokens
        if self.beyond is not None:
            tokens = np.where(tokens < self.weight.shape[0], tokens, np.int32(self.beyond))
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
