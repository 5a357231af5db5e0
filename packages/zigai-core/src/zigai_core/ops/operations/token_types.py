"""What depends on a token's type, which tells the texts of a pair apart."""

from __future__ import annotations

from dataclasses import dataclass

from zigai_core.contracts.graph import TOKENS, Array, Operation, Step, Weight


@dataclass(frozen=True, eq=False)
class TypeEmbedding(Operation):
    """The rows of `weight`, `[types, width]`, for the types of the step's tokens: `[tokens, width]`.

    Types are `Batch.types`. The segment embeddings of BERT (arXiv:1810.04805, section 3).
    """

    weight: Weight

    @property
    def type_limit(self) -> int:
        """The number of rows."""
        return self.weight.shape[0]

    def fault(self) -> str | None:
        """Returns why the attributes are invalid; None if they are valid."""
        rows = self.output.rows
        return None if rows == TOKENS else f"types belong to tokens, but its output has {rows} rows"

    def evaluate(self, step: Step) -> Array:
        return step.weight_rows(self.weight, step.batch.token_types())
