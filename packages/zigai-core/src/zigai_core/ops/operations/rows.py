"""Selection of rows and columns."""

from __future__ import annotations

from dataclasses import dataclass

from zigai_core.contracts.graph import Array, Operation, Step, Value


@dataclass(frozen=True, eq=False)
class Columns(Operation):
    """Consecutive columns: `x[:, start : start + output.width]`."""

    x: Value
    start: int

    def evaluate(self, step: Step) -> Array:
        return step[self.x][:, self.start : self.start + self.output.width]


@dataclass(frozen=True, eq=False)
class Select(Operation):
    """The output rows (`Batch.output_rows`) of `x`: `[tokens, width]` to `[wanted, width]`."""

    x: Value

    def evaluate(self, step: Step) -> Array:
        return step[self.x][step.batch.output_rows]
