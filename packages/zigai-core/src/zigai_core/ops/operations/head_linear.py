"""Matrix products with a matrix for each head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.graph import Array, Operation, Step, Value, Weight


@dataclass(frozen=True, eq=False)
class HeadLinear(Operation):
    """Each head of a row times the head's own matrix: `[rows, heads · inputs]` to `[rows, heads · outputs]`.

    `weight` is `[heads, outputs, inputs]`. In multi-head latent attention, the projections that are absorbed
    into queries and outputs (DeepSeek-V2, arXiv:2405.04434, section 2.1.2).
    """

    x: Value
    weight: Weight

    def fault(self) -> str | None:
        """Returns why the weight does not fit the values; None if it does."""
        shape = self.weight.shape
        if len(shape) != 3 or min(shape) < 1:
            return f"{self.weight.name} has shape {shape}, not that of a matrix for each head"
        heads, outputs, inputs = shape
        if (self.x.width, self.output.width) != (heads * inputs, heads * outputs):
            return (
                f"{heads} matrices of {outputs} by {inputs} do not fit an input of {self.x.width} and an "
                f"output of {self.output.width}"
            )
        return None

    def evaluate(self, step: Step) -> Array:
        heads, outputs, inputs = self.weight.shape
        x = step[self.x].reshape(-1, heads, inputs)
        y: Array = np.matmul(x.transpose(1, 0, 2), step.weight(self.weight).transpose(0, 2, 1))
        return y.transpose(1, 0, 2).reshape(-1, heads * outputs)
