"""Functions of single elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from zigai_core.contracts.graph import Array, Operation, Step, Value
from zigai_core.ops.operations.feed_forward import activate

UnaryKind = Literal[
    "silu", "gelu", "gelu_tanh", "gelu_quick", "relu", "sigmoid", "tanh", "softplus", "relu_squared"
]


@dataclass(frozen=True, eq=False)
class Unary(Operation):
    """A function of each element of `x`, by its name.

    `silu`, `gelu`, `gelu_tanh`, `gelu_quick` and `relu` are as in `activate`. `sigmoid` is 1 / (1 + e^-x);
    `softplus` ln(1 + e^x), and x above 20, as in PyTorch, where both are the same float32; `relu_squared`
    max(x, 0)² (So et al., 2021, arXiv:2109.08668).
    """

    x: Value
    kind: UnaryKind

    def fault(self) -> str | None:
        """Returns why the kind is invalid; None if it is valid."""
        if self.kind not in get_args(UnaryKind):
            return f"there is no kind {self.kind!r} of unary operation, only {', '.join(get_args(UnaryKind))}"
        return None

    def evaluate(self, step: Step) -> Array:
        x = step[self.x]
        y: Array
        if self.kind == "sigmoid":
            y = np.reciprocal(1 + np.exp(-x))
        elif self.kind == "tanh":
            y = np.tanh(x)
        elif self.kind == "softplus":
            y = np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, np.float32(20)))))
        elif self.kind == "relu_squared":
            y = np.square(np.maximum(x, np.float32(0)))
        else:
            y = activate(x, self.kind)
        return y
