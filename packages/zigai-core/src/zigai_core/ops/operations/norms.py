"""RMSNorm and LayerNorm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.graph import Array, Operation, Step, Value, Weight


@dataclass(frozen=True, eq=False)
class RMSNorm(Operation):
    """Root-mean-square normalisation (Zhang and Sennrich, 2019, arXiv:1910.07467) of each group of a row.

    `x / sqrt(mean(x²) + epsilon) · weight`, over groups of the width of `weight`: the whole row, or each head
    of it as in the query and key normalisation of Qwen3.
    """

    x: Value
    weight: Weight
    epsilon: float

    def evaluate(self, step: Step) -> Array:
        x = step[self.x]
        groups = x.reshape(len(x), self.x.width // self.weight.shape[0], self.weight.shape[0])
        power = np.mean(groups * groups, axis=-1, keepdims=True)
        y: Array = groups / np.sqrt(power + np.float32(self.epsilon)) * step.weight(self.weight)
        return y.reshape(x.shape)


@dataclass(frozen=True, eq=False)
class LayerNorm(Operation):
    """Layer normalisation (Ba, Kiros and Hinton, 2016, arXiv:1607.06450) of each row.

    `(x - mean(x)) / sqrt(var(x) + epsilon) · weight + bias`, with `weight` and the optional `bias` `[width]`.
    """

    x: Value
    weight: Weight
    epsilon: float
    bias: Weight | None = None

    def evaluate(self, step: Step) -> Array:
        x = step[self.x]
        centred = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.mean(centred * centred, axis=-1, keepdims=True)
        y: Array = centred / np.sqrt(variance + np.float32(self.epsilon)) * step.weight(self.weight)
        return y if self.bias is None else y + step.weight(self.bias)
