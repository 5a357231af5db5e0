"""The experts of a mixture-of-experts layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.graph import Array, Operation, Step, Value, Weight
from zigai_core.ops.operations.feed_forward import Activation, gate_fault, gated


@dataclass(frozen=True, eq=False)
class Experts(Operation):
    """Gated feed-forward experts, of which each row uses a few (arXiv:2401.04088, section 2).

    `shares` is `[rows, experts]`, from `Route` or any other operation. A row uses the experts whose share is
    not 0; if there are more than `used`, those whose shares have the largest magnitude (NaN counts as the
    largest; of equal ones, the first). The output is the sum of each expert's result times its share. With
    `weighted_input`, each expert's input is the row times its share, and the output is the sum of the results
    (Llama 4).

    `gate` and `up` are `[experts, hidden, width]`, `down` is `[experts, width, hidden]`; biases are
    `[experts, hidden]` and `[experts, width]`. `activation`, `limit` and `up_offset` as in
    `GatedActivation`.
    """

    x: Value
    shares: Value
    gate: Weight
    up: Weight
    down: Weight
    used: int
    activation: Activation = "silu"
    gate_bias: Weight | None = None
    up_bias: Weight | None = None
    down_bias: Weight | None = None
    limit: float | None = None
    up_offset: float = 0.0
    weighted_input: bool = False

    def evaluate(self, step: Step) -> Array:
        x, shares = step[self.x], step[self.shares]
        size = np.where(np.isnan(shares), np.float32(np.inf), np.abs(shares))
        best = np.argsort(-size, axis=-1, kind="stable")[:, : self.used]
        chosen = np.zeros(shares.shape, np.bool_)
        np.put_along_axis(chosen, best, True, axis=-1)
        chosen &= shares != 0
        out = np.zeros((len(x), self.output.width), dtype=np.float32)
        for expert in map(int, np.flatnonzero(chosen.any(axis=0))):
            rows = np.flatnonzero(chosen[:, expert])
            share = shares[rows, expert, None]
            part = x[rows] * share if self.weighted_input else x[rows]
            gate = _linear(step, part, self.gate, self.gate_bias, expert)
            up = _linear(step, part, self.up, self.up_bias, expert)
            h = gated(gate, up, self.activation, self.limit, self.up_offset)
            y = _linear(step, h, self.down, self.down_bias, expert)
            out[rows] += y if self.weighted_input else share * y
        return out

    def fault(self) -> str | None:
        """Returns why the attributes are invalid; None if they are valid. Weights are checked elsewhere."""
        if type(self.used) is not int:
            return f"used is {self.used!r}, not a whole number"
        if not 1 <= self.used <= self.shares.width:
            return f"{self.used} of {self.shares.width} experts are used, which is out of range"
        return gate_fault(self.activation, self.limit, self.up_offset)


def _linear(step: Step, x: Array, weight: Weight, bias: Weight | None, expert: int) -> Array:
    rows = np.arange(weight.shape[1], dtype=np.int32) + np.int32(expert * weight.shape[1])
    y: Array = x @ step.weight_rows(weight, rows).T
    return y if bias is None else y + step.weight_rows(bias, np.array([expert], np.int32))
