"""Rotary position embedding and attention over the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.graph import Array, CacheSpec, Operation, Step, Value

Pairing = Literal["adjacent", "half"]


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

    @property
    def cache(self) -> CacheSpec:
        """Keys and values of the layer."""
        return CacheSpec(self.layer, self.kv_heads, self.head_dim)

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
