"""Selection of rows and columns."""

from __future__ import annotations

from dataclasses import dataclass

from zigai_core.contracts.graph import Array, Operation, Step, Value


@dataclass(frozen=True, eq=False)
class Columns(Operation):
    """Consecutive columns: `x[:, start : start + output.width]`."""

    x: Value
    start: int

    def fault(self) -> str | None:
        """Returns which columns the row does not have; None if it has all."""
        end = self.start + self.output.width
        return None if 0 <= self.start <= end <= self.x.width else f"{self.x.name} has no {self.start}..{end}"

    def evaluate(self, step: Step) -> Array:
        return step[self.x][:, self.start : self.start + self.output.width]


@dataclass(frozen=True, eq=False)
class Select(Operation):
    """The output rows (`Batch.output_rows`) of `x`: `[tokens, width]` to `[wanted, width]`."""

    x: Value

    def evaluate(self, step: Step) -> Array:
        return step[self.x][step.batch.output_rows]
