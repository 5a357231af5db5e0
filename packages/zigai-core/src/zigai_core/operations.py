"""The operations that graphs are built from: each class is a name, attributes and a numpy definition."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zigai_core.graph import Array, Operation, Step, Value, Weight

Pairing = Literal["adjacent", "half"]
Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]


@dataclass(frozen=True, eq=False)
class Embedding(Operation):
    """Rows of `weight` (`[vocabulary, width]`) for the step's tokens: `[tokens, width]`."""

    weight: Weight

    def evaluate(self, step: Step) -> Array:
        return step.weight_rows(self.weight, step.batch.tokens)


@dataclass(frozen=True, eq=False)
class Linear(Operation):
    """`x · weightᵀ + bias`: `[rows, inputs]` to `[rows, outputs]`, `weight` is `[outputs, inputs]`."""

    x: Value
    weight: Weight
    bias: Weight | None = None

    def evaluate(self, step: Step) -> Array:
        y: Array = step[self.x] @ step.weight(self.weight).T
        return y if self.bias is None else y + step.weight(self.bias)


@dataclass(frozen=True, eq=False)
class RMSNorm(Operation):
    """Root-mean-square normalisation (Zhang and Sennrich, 2019, arXiv:1910.07467) of each group of a row.

    `x / sqrt(mean(x²) + epsilon) · weight`, over groups as wide as `weight`: one group is the whole row; a
    group a head is the query and key normalisation of Qwen3.
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
    """Layer normalisation (Ba, Kiros and Hinton, 2016, arXiv:1607.06450) of each row, bias optional."""

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


@dataclass(frozen=True, eq=False)
class Rope(Operation):
    """Rotary position embedding (Su et al., 2021, arXiv:2104.09864) of each head of a row.

    Pair i of a head turns by `position · frequencies[i]` radians and is stretched by `magnitude`. Pairs are
    elements `(2i, 2i+1)` when `pairing` is `adjacent`, `(i, i + rotary/2)` when it is `half`, where
    `rotary = 2 · len(frequencies)`; elements of a head from `rotary` on stay as they are.
    """

    x: Value
    head_dim: int
    frequencies: NDArray[np.float32]
    pairing: Pairing
    magnitude: float = 1.0

    def evaluate(self, step: Step) -> Array:
        x = step[self.x]
        heads: Array = x.reshape(len(x), self.x.width // self.head_dim, self.head_dim).copy()
        angles = step.batch.positions[:, None, None].astype(np.float32) * self.frequencies
        cos, sin = np.cos(angles) * np.float32(self.magnitude), np.sin(angles) * np.float32(self.magnitude)
        half = len(self.frequencies)
        if self.pairing == "adjacent":
            first, second = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
        else:
            first, second = slice(0, half), slice(half, 2 * half)
        a, b = heads[..., first].copy(), heads[..., second].copy()
        heads[..., first] = a * cos - b * sin
        heads[..., second] = a * sin + b * cos
        return heads.reshape(x.shape)


@dataclass(frozen=True, eq=False)
class Attention(Operation):
    """Causal softmax attention (Vaswani et al., 2017, arXiv:1706.03762) over a sequence's cached tokens.

    `query` is `[tokens, heads · head_dim]`, `key` and `value` are `[tokens, kv_heads · head_dim]`; each KV
    head serves `heads / kv_heads` neighbouring query heads (GQA, arXiv:2305.13245). The step's keys and
    values enter the cache of `layer`, then a token at position p sees positions `max(0, p - window + 1)..p`
    of its own sequence. Scores are `scale · q·k`, and with `soft_cap` c they become `c · tanh(score / c)`.
    """

    query: Value
    key: Value
    value: Value
    layer: int
    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    window: int | None = None
    soft_cap: float | None = None

    def evaluate(self, step: Step) -> Array:
        batch, group = step.batch, self.heads // self.kv_heads
        query = step[self.query].reshape(-1, self.kv_heads, group, self.head_dim)
        shape = (-1, self.kv_heads, self.head_dim)
        step.remember(self.layer, step[self.key].reshape(shape), step[self.value].reshape(shape))
        out = np.empty_like(query)
        for sequence in np.unique(batch.sequences):
            rows = np.flatnonzero(batch.sequences == sequence)
            at = batch.positions[rows]
            keys, values = step.recall(self.layer, int(sequence), int(at.max()) + 1)
            scores = np.einsum("tkgd,skd->kgts", query[rows], keys, optimize=True) * np.float32(self.scale)
            if self.soft_cap is not None:
                scores = np.tanh(scores / np.float32(self.soft_cap)) * np.float32(self.soft_cap)
            distance = at[:, None] - np.arange(len(keys))
            hidden = distance < 0
            if self.window is not None:
                hidden |= distance >= self.window
            scores[..., hidden] = -np.inf
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            weights /= weights.sum(axis=-1, keepdims=True)
            out[rows] = np.einsum("kgts,skd->tkgd", weights, values, optimize=True)
        return out.reshape(len(query), -1)


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


@dataclass(frozen=True, eq=False)
class Add(Operation):
    """`a + b`, element by element."""

    a: Value
    b: Value

    def evaluate(self, step: Step) -> Array:
        return step[self.a] + step[self.b]


@dataclass(frozen=True, eq=False)
class Multiply(Operation):
    """`a · b`, element by element."""

    a: Value
    b: Value

    def evaluate(self, step: Step) -> Array:
        return step[self.a] * step[self.b]


@dataclass(frozen=True, eq=False)
class Scale(Operation):
    """`x · factor`."""

    x: Value
    factor: float

    def evaluate(self, step: Step) -> Array:
        y: Array = step[self.x] * np.float32(self.factor)
        return y


@dataclass(frozen=True, eq=False)
class SoftCap(Operation):
    """`cap · tanh(x / cap)`: keeps every element within ±cap (Gemma 2, arXiv:2408.00118)."""

    x: Value
    cap: float

    def evaluate(self, step: Step) -> Array:
        y: Array = np.tanh(step[self.x] / np.float32(self.cap)) * np.float32(self.cap)
        return y


@dataclass(frozen=True, eq=False)
class Columns(Operation):
    """Some neighbouring columns: `[rows, width]` to `x[:, start : start + output.width]`."""

    x: Value
    start: int

    def evaluate(self, step: Step) -> Array:
        return step[self.x][:, self.start : self.start + self.output.width]


@dataclass(frozen=True, eq=False)
class Select(Operation):
    """The rows the caller wants outputs for: from `[tokens, width]` to `[wanted, width]`."""

    x: Value

    def evaluate(self, step: Step) -> Array:
        return step[self.x][step.batch.wanted]


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
