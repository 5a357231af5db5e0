"""Arithmetic with a vector of the file, which has a number for each column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.graph import Array, Operation, Step, Value, Weight


@dataclass(frozen=True, eq=False)
class ColumnScale(Operation):
    """`x · weight`: each column times its number; `weight` is `[width]`."""

    x: Value
    weight: Weight

    def evaluate(self, step: Step) -> Array:
        y: Array = step[self.x] * step.weight(self.weight)
        return y


@dataclass(frozen=True, eq=False)
class ColumnShift(Operation):
    """`x + weight[row]`: to each column its number is added; `weight` is `[width]`, or `[rows, width]`.

    A bias without a matrix; or one row of a table, such as the token type of a text that has only one (BERT,
    arXiv:1810.04805, section 3).
    """

    x: Value
    weight: Weight
    row: int = 0

    def fault(self) -> str | None:
        """Returns why the row is invalid; None if it is valid."""
        rows = 1 if len(self.weight.shape) == 1 else self.weight.shape[0]
        if type(self.row) is not int or not 0 <= self.row < rows:
            return f"its row is {self.row!r}, but {self.weight.name} has {rows}"
        return None

    def evaluate(self, step: Step) -> Array:
        y: Array = step[self.x] + step.weight_rows(self.weight, np.array([self.row], np.int32))[0]
        return y
