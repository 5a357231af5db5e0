"""Activations and gates of feed-forward layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Array, Operation, Step, Value, Weight

Activation = Literal["silu", "gelu", "gelu_tanh", "gelu_quick", "relu"]


@dataclass(frozen=True, eq=False)
class GatedActivation(Operation):
    """`activation(gate) · up`, elementwise: SwiGLU with `silu` (Shazeer, 2020, arXiv:2002.05202).

    With `limit`, gate is first clamped to at most `limit`, and up to -limit..limit. `up_offset` is then added
    to up. gpt-oss (arXiv:2508.10925) has `gelu_quick`, a limit of 7 and an offset of 1.
    """

    gate: Value
    up: Value
    activation: Activation
    limit: float | None = None
    up_offset: float = 0.0

    def evaluate(self, step: Step) -> Array:
        return gated(step[self.gate], step[self.up], self.activation, self.limit, self.up_offset)

    def fault(self) -> str | None:
        """Returns why the attributes are invalid; None if they are valid."""
        return gate_fault(self.activation, self.limit, self.up_offset)


@dataclass(frozen=True, eq=False)
class SigmoidGate(Operation):
    """`y · sigmoid(x · weight)`: multiplies each row of `y` by one number; `weight` is `[x.width]`."""

    x: Value
    y: Value
    weight: Weight

    def evaluate(self, step: Step) -> Array:
        share: Array = 1 / (1 + np.exp(-(step[self.x] @ step.weight(self.weight))))
        return step[self.y] * share[:, None]


def gated(gate: Array, up: Array, activation: Activation, limit: float | None, up_offset: float) -> Array:
    """Returns what `GatedActivation` computes, from arrays of the same shape."""
    if limit is not None:
        gate = np.minimum(gate, np.float32(limit))
        up = np.clip(up, np.float32(-limit), np.float32(limit))
    if up_offset:
        up = up + np.float32(up_offset)
    return activate(gate, activation) * up


def gate_fault(activation: str, limit: float | None, up_offset: float) -> str | None:
    """Returns why these attributes of a gated activation are invalid; None if they are valid."""
    if activation not in get_args(Activation):
        return f"there is no activation {activation!r}, only {', '.join(get_args(Activation))}"
    if limit is not None and not (math.isfinite(limit) and limit > 0):
        return f"its limit is {limit}"
    return None if math.isfinite(up_offset) else f"its up_offset is {up_offset}"


def activate(x: Array, activation: Activation) -> Array:
    """Returns the activation of this name, elementwise. Raises `UnsupportedError` for an unknown name.

    `silu` is x · sigmoid(x). `gelu` is exact, by the error function; `gelu_tanh` and `gelu_quick`,
    x · sigmoid(1.702 x), are its approximations by Hendrycks and Gimpel, 2016 (arXiv:1606.08415).
    """
    gain: Array
    if activation == "silu":
        gain = np.reciprocal(1 + np.exp(-x))
    elif activation == "relu":
        gain = np.asarray(x > 0, dtype=np.float32)
    elif activation == "gelu_tanh":
        cubic = x + np.float32(0.044715) * x * x * x
        gain = np.float32(0.5) * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * cubic))
    elif activation == "gelu_quick":
        gain = np.reciprocal(1 + np.exp(np.float32(-1.702) * x))
    elif activation == "gelu":
        erf = np.vectorize(math.erf, otypes=[np.float32])
        gain = np.float32(0.5) * (1 + erf(x / np.float32(math.sqrt(2))))
    else:
        raise UnsupportedError(f"there is no activation {activation!r}")
    y: Array = x * gain
    return y
