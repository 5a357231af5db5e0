"""Where embeddings that a caller gives stand in place of tokens."""

from __future__ import annotations

from dataclasses import dataclass

from zigai_core.contracts.batch import IN_PLACE
from zigai_core.contracts.graph import TOKENS, Array, Operation, Step, Value


@dataclass(frozen=True, eq=False)
class Inputs(Operation):
    """`x`, with the next row of `Batch.embeddings` in place of each row whose token is -1: `[tokens, width]`.

    How a model of texts reads images: the rows of its encoder replace those of placeholder tokens (Liu et
    al., 2023, arXiv:2304.08485, section 4.1).
    """

    x: Value

    @property
    def input_width(self) -> int:
        """The width of a row."""
        return self.output.width

    def fault(self) -> str | None:
        """Returns why the attributes are invalid; None if they are valid."""
        for value in (self.x, self.output):
            if value.rows != TOKENS:
                return f"embeddings stand in place of tokens, but {value.name} has {value.rows} rows"
        if self.x.width != self.output.width:
            return f"its input is {self.x.width} wide, and its output {self.output.width}"
        return None

    def evaluate(self, step: Step) -> Array:
        given = step.batch.embeddings
        if given is None:
            return step[self.x]
        rows: Array = step[self.x].copy()
        rows[step.batch.tokens == IN_PLACE] = given
        return rows
