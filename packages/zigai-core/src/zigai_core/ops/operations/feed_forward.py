"""Activations, and the parts of feed-forward layers that are more than products."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from zigai_core.contracts.graph import Array, Operation, Step, Value, Weight

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]


@dataclass(frozen=True, eq=False)
class GatedActivation(Operation):
    """`activation(gate) · up`, element by element: SwiGLU if it is `silu` (Shazeer, arXiv:2002.05202)."""

    gate: Value
    up: Value
    activation: Activation

    def evaluate(self, step: Step) -> Array:
        return activate(step[self.gate], self.activation) * step[self.up]


@dataclass(frozen=True, eq=False)
class MixtureOfExperts(Operation):
    """A gated feed-forward layer of many experts, of which each row uses a few (arXiv:2401.04088, section 2).

    `scores` are the router's, `[rows, experts]`. Each row goes through its `used` experts with the largest
    softmax of the scores, and the results are added up with these shares; `renormalise` first scales them to
    a sum of one. `gate` and `up` are `[experts, hidden, width]`, `down` is `[experts, width, hidden]`.
    """

    x: Value
    scores: Value
    gate: Weight
    up: Weight
    down: Weight
    used: int
    renormalise: bool
    activation: Activation

    def evaluate(self, step: Step) -> Array:
        x, scores = step[self.x], step[self.scores]
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        # A stable sort of the negated shares: of equal ones, the first experts are used.
        chosen = np.argsort(-shares, axis=-1, kind="stable")[:, : self.used]
        if self.renormalise:
            shares = shares / np.take_along_axis(shares, chosen, axis=-1).sum(axis=-1, keepdims=True)
        out = np.zeros((len(x), self.output.width), dtype=np.float32)
        for expert in np.unique(chosen):
            rows = np.flatnonzero((chosen == expert).any(axis=-1))
            gate, up, down = (
                step.weight_rows(
                    weight, np.arange(weight.shape[1], dtype=np.int32) + expert * weight.shape[1]
                )
                for weight in (self.gate, self.up, self.down)
            )
            h = activate(x[rows] @ gate.T, self.activation) * (x[rows] @ up.T)
            out[rows] += shares[rows, expert, None] * (h @ down.T)
        return out


@dataclass(frozen=True, eq=False)
class SigmoidGate(Operation):
    """`y · sigmoid(x · weight)`: a row of `y` by one number from the row of `x`; `weight` is `[width]`."""

    x: Value
    y: Value
    weight: Weight

    def evaluate(self, step: Step) -> Array:
        share: Array = 1 / (1 + np.exp(-(step[self.x] @ step.weight(self.weight))))
        return step[self.y] * share[:, None]


def activate(x: Array, activation: Activation) -> Array:
    """One of the activations by name; `gelu` is the exact one (by the error function)."""
    gain: Array
    if activation == "silu":
        gain = np.float32(1) / (1 + np.exp(-x))
    elif activation == "relu":
        gain = np.asarray(x > 0, dtype=np.float32)
    elif activation == "gelu_tanh":
        bent = x + np.float32(0.044715) * x * x * x
        gain = np.float32(0.5) * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * bent))
    else:
        erf = np.vectorize(math.erf, otypes=[np.float32])
        gain = np.float32(0.5) * (1 + erf(x / np.float32(math.sqrt(2))))
    y: Array = x * gain
    return y
