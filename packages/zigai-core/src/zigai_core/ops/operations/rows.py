"""Selection of rows and columns."""

from __future__ import annotations

from dataclasses import dataclass

from zigai_core.contracts.graph import Array, Operation, Step, Value


@dataclass(frozen=True, eq=False)
class Columns(Operation):
    """Consecutive columns of each of `groups` equal groups of a row, such as its heads.

    With one group, `x[:, start : start + output.width]`. With more, `start` counts from the beginning of each
    group, and the output has as many columns of each: queries that are stored in turns with gates
    (transformers, modeling_qwen3_next.py, `Qwen3NextAttention`).
    """

    x: Value
    start: int
    groups: int = 1

    def fault(self) -> str | None:
        """Returns why the attributes are invalid or do not fit the values; None if they are valid."""
        groups, inner, width = self.groups, self.x.width, self.output.width
        if type(groups) is not int or groups < 1 or inner % groups or width % groups:
            return f"rows of {inner} and {width} elements are not {groups!r} whole groups"
        if type(self.start) is not int or not 0 <= self.start <= (inner - width) // groups:
            what = f"a row of {inner}" if groups == 1 else f"groups of {inner // groups} elements"
            return f"{width // groups} columns from {self.start!r} exceed {what}"
        return None

    def evaluate(self, step: Step) -> Array:
        x, part = step[self.x], self.output.width // self.groups
        grouped = x.reshape(len(x), self.groups, self.x.width // self.groups)
        return grouped[:, :, self.start : self.start + part].reshape(len(x), self.output.width)


@dataclass(frozen=True, eq=False)
class Select(Operation):
    """The output rows (`Batch.output_rows`) of `x`: `[tokens, width]` to `[wanted, width]`."""

    x: Value

    def evaluate(self, step: Step) -> Array:
        return step[self.x][step.batch.output_rows]
