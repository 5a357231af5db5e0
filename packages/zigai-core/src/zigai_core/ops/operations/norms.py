"""RMSNorm, LayerNorm and L2 normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.graph import Array, Operation, Step, Value, Weight


@dataclass(frozen=True, eq=False)
class RMSNorm(Operation):
    """Root-mean-square normalisation (Zhang and Sennrich, 2019, arXiv:1910.07467) of each group of a row.

    `x / sqrt(mean(x²) + epsilon) · weight`. Without `groups`, groups have the width of `weight`: the whole
    row, or each head of it as in the query and key normalisation of Qwen3. With `groups`, the mean is over
    each of so many equal groups, and `weight` has the width of the row, `[width]` or, as GGUF files have it,
    `[groups, width / groups]`: the grouped norm of Mamba 2 (Dao and Gu, 2024, arXiv:2405.21060, section 7.2).
    """

    x: Value
    weight: Weight
    epsilon: float
    groups: int | None = None

    @property
    def group(self) -> int:
        """The number of elements of a group, if `fault` finds none."""
        return self.weight.shape[0] if self.groups is None else self.x.width // self.groups

    def fault(self) -> str | None:
        """Returns why the attributes are invalid or do not fit the values; None if they are valid."""
        weight, width = self.weight.shape, self.x.width
        if self.groups is None:
            if len(weight) != 1 or weight[0] < 1 or width % weight[0]:
                return f"its weight of shape {weight} does not fit a row of {width}"
        elif type(self.groups) is not int or self.groups < 1 or width % self.groups:
            return f"a row of {width} elements is not {self.groups!r} whole groups"
        elif not weight or math.prod(weight) != width:
            return f"its weight of shape {weight} is not as wide as a row, which groups needs: {width}"
        return None

    def evaluate(self, step: Step) -> Array:
        x = step[self.x]
        groups = x.reshape(len(x), self.x.width // self.group, self.group)
        power = np.mean(groups * groups, axis=-1, keepdims=True)
        weight = step.weight(self.weight).reshape(-1, self.group)
        y: Array = groups / np.sqrt(power + np.float32(self.epsilon)) * weight
        return y.reshape(x.shape)


@dataclass(frozen=True, eq=False)
class LayerNorm(Operation):
    """Layer normalisation (Ba, Kiros and Hinton, 2016, arXiv:1607.06450) of each row.

    `(x - mean(x)) / sqrt(var(x) + epsilon) · weight + bias`, with `weight` and `bias` `[width]`. Both are
    optional: OLMo's norms have neither.
    """

    x: Value
    weight: Weight | None
    epsilon: float
    bias: Weight | None = None

    def evaluate(self, step: Step) -> Array:
        x = step[self.x]
        centred = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.mean(centred * centred, axis=-1, keepdims=True)
        y: Array = centred / np.sqrt(variance + np.float32(self.epsilon))
        y = y if self.weight is None else y * step.weight(self.weight)
        return y if self.bias is None else y + step.weight(self.bias)


@dataclass(frozen=True, eq=False)
class L2Norm(Operation):
    """`x / sqrt(sum(x²) + epsilon)` of each `group` elements of a row, which gives them a length of 1.

    Queries and keys of gated delta nets (transformers, modeling_qwen3_next.py, `l2norm`).
    """

    x: Value
    group: int
    epsilon: float

    def fault(self) -> str | None:
        """Returns why the attributes are invalid or do not fit the values; None if they are valid."""
        if type(self.group) is not int or self.group < 1 or self.x.width % self.group:
            return f"a row of {self.x.width} elements is not whole groups of {self.group!r}"
        return None

    def evaluate(self, step: Step) -> Array:
        x = step[self.x]
        groups = x.reshape(len(x), self.x.width // self.group, self.group)
        length = np.sqrt(np.sum(groups * groups, axis=-1, keepdims=True) + np.float32(self.epsilon))
        y: Array = groups / length
        return y.reshape(x.shape)
