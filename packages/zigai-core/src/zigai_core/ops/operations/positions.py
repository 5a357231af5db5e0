"""What depends on a token's position, other than RoPE: learned embeddings, and scales."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.graph import TOKENS, Array, Operation, Step, Value, Weight


@dataclass(frozen=True, eq=False)
class PositionEmbedding(Operation):
    """The rows of `weight`, `[positions, width]`, for the positions of the step's tokens: `[tokens, width]`.

    Positions are those of the first section (`Batch.position`). Learned position embeddings of BERT
    (arXiv:1810.04805, appendix A) and GPT-2.
    """

    weight: Weight

    @property
    def position_limit(self) -> int:
        """The number of rows."""
        return self.weight.shape[0]

    def fault(self) -> str | None:
        """Returns why the attributes are invalid; None if they are valid."""
        return _of_tokens(self)

    def evaluate(self, step: Step) -> Array:
        return step.weight_rows(self.weight, step.batch.position())


@dataclass(frozen=True, eq=False)
class PositionScale(Operation):
    """`x · (1 + factor · ln(1 + floor((position + offset) / length)))`, one number a row: `[tokens, width]`.

    The temperature of attention in long texts, which multiplies queries. Llama 4 has an offset of 1 (`length`
    is `floor_scale`, `factor` is `attn_scale`; transformers, modeling_llama4.py, `Llama4TextAttention`),
    Ministral 3 and Mistral 4 one of 0 (`original_max_position_embeddings`, `llama_4_scaling_beta`;
    modeling_ministral3.py, `get_llama_4_attn_scale`). Positions are those of the first section.
    """

    x: Value
    length: int
    factor: float
    offset: int = 0

    def fault(self) -> str | None:
        """Returns why the attributes are invalid; None if they are valid."""
        if type(self.length) is not int or not 1 <= self.length < 2**31:
            return f"its length is {self.length!r}, not a whole number of positions, at least 1"
        if type(self.offset) is not int or not 0 <= self.offset < 2**31:
            return f"its offset is {self.offset!r}, not a whole number of positions, at least 0"
        if not math.isfinite(self.factor):
            return f"its factor is {self.factor}"
        return _of_tokens(self)

    def evaluate(self, step: Step) -> Array:
        turns = (step.batch.position().astype(np.int64) + self.offset) // self.length
        share = 1 + np.float32(self.factor) * np.log1p(turns.astype(np.float32))
        y: Array = step[self.x] * share[:, None]
        return y


def _of_tokens(operation: Operation) -> str | None:
    """Returns the fault of an operation whose output has other rows than tokens have; None for none."""
    rows = operation.output.rows
    return None if rows == TOKENS else f"positions belong to tokens, but its output has {rows} rows"
