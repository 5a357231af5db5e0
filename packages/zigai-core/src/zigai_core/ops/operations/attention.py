"""Rotary position embedding and attention over the cache."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import Pairing
from zigai_core.contracts.graph import TOKENS, Array, Operation, Step, Value, Weight
from zigai_core.contracts.state import KVCache, State

SMALLEST, LARGEST = (float(number) for number in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))
"""The range of positive normal float32 numbers."""


@dataclass(frozen=True, eq=False)
class Rope(Operation):
    """Rotary position embedding (Su et al., 2021, arXiv:2104.09864) of each head of a row.

    Pair i of a head is rotated by `position · frequencies[i]` radians and multiplied by `magnitude`. With
    `rotary = 2 · len(frequencies)`, pairs are elements `(2i, 2i+1)` if `pairing` is `adjacent`, and
    `(i, i + rotary/2)` if it is `half`. Elements of a head from `rotary` on are unchanged. `sections`, int32
    `[len(frequencies)]`, has the section of `Batch.positions` that each pair reads; None: the first one.
    """

    x: Value
    head_dim: int
    frequencies: NDArray[np.float32]
    pairing: Pairing
    magnitude: float = 1.0
    sections: NDArray[np.int32] | None = None

    def fault(self) -> str | None:
        """Returns why the attributes are invalid; None if they are valid."""
        if self.sections is None:
            return None
        if self.sections.dtype != np.int32 or self.sections.shape != self.frequencies.shape:
            return f"its sections are {self.sections.dtype} {self.sections.shape}, not int32 with a pair each"
        return None if self.sections.min() >= 0 else f"its section {self.sections.min()} is negative"

    def evaluate(self, step: Step) -> Array:
        x, batch = step[self.x], step.batch
        heads: Array = x.reshape(len(x), self.x.width // self.head_dim, self.head_dim).copy()
        if self.sections is None:
            positions = batch.position()[:, None]
        else:
            positions = np.stack([batch.position(section) for section in self.sections.tolist()], axis=1)
        angles = positions[:, None].astype(np.float32) * self.frequencies
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
    """Softmax attention (Vaswani et al., 2017, arXiv:1706.03762) of each row to rows of its sequence.

    `query` is `[tokens, heads · key_dim]`, `key` `[tokens, kv_heads · key_dim]`, `value`
    `[tokens, kv_heads · value_dim]`, the output `[tokens, heads · value_dim]`; each KV head serves
    `heads / kv_heads` consecutive query heads (GQA, arXiv:2305.13245). The step's keys and values are written
    to `state`. `key` and `value` are both None if an earlier operation of the step writes them; `value` alone
    is None if the state has `values_in_keys`. Without a `state`, as in an encoder, only keys of the step
    exist, so each sequence must be in one step.

    A row at index p sees the entries s of its sequence with s < end, where end is the row's entry of
    `Batch.ends`, p + 1 by default, and: with `window`, |s - p| < window; with `chunk`,
    s >= p // chunk · chunk (Llama 4). `window` and `chunk` exclude each other.

    The score of query head h at index p for the key at index s is `scale · q·k`; with `soft_cap` c it
    becomes `c · tanh(score / c)` (Gemma 2, arXiv:2408.00118); with `slopes`, float32 `[heads]`,
    `slopes[h] · (s - p)` is added (ALiBi, arXiv:2108.12409). `sinks`, a tensor `[heads]`, adds a score per
    head to the softmax that has no value, so that the weights of the tokens add up to less than 1 (gpt-oss,
    arXiv:2508.10925); a sink of -inf has no effect.
    """

    query: Value
    key: Value | None
    value: Value | None
    state: State | None
    heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    scale: float
    window: int | None = None
    soft_cap: float | None = None
    chunk: int | None = None
    sinks: Weight | None = None
    slopes: NDArray[np.float32] | None = None

    @property
    def whole_sequences(self) -> bool:
        """True without a state."""
        return self.state is None

    def fault(self) -> str | None:
        """Returns why the attributes are invalid or do not fit the values; None if they are valid."""
        for name in ("heads", "kv_heads", "key_dim", "value_dim", "window", "chunk"):
            count = getattr(self, name)
            if count is None and name in ("window", "chunk"):
                continue
            if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
                return f"its {name} is {count!r}, not a whole number of at least 1"
        if self.heads % self.kv_heads:
            return f"{self.heads} heads cannot share {self.kv_heads} KV heads"
        for what, given, heads, width in (
            ("query", self.query, self.heads, self.key_dim),
            ("key", self.key, self.kv_heads, self.key_dim),
            ("value", self.value, self.kv_heads, self.value_dim),
            ("output", self.output, self.heads, self.value_dim),
        ):
            if given is None:
                continue
            if given.width != heads * width:
                return f"its {what} {given.name} is {given.width} wide, not {heads} heads of {width}"
            if given.rows != TOKENS:
                return f"its {what} {given.name} has {given.rows} rows, not a row for each token"
        if (wrong := self._state_fault()) is not None:
            return wrong
        if self.window is not None and self.chunk is not None:
            return f"it has a window of {self.window} and chunks of {self.chunk}; only one is possible"
        if not abs(self.scale) <= LARGEST:
            return f"its scale is {self.scale}, which is not a finite float32"
        if self.soft_cap is not None and not SMALLEST <= self.soft_cap <= LARGEST:
            return f"its soft cap is {self.soft_cap}, which is not a positive float32"
        if self.sinks is not None and self.sinks.shape != (self.heads,):
            return f"its sinks {self.sinks.name} have shape {self.sinks.shape}, not {(self.heads,)}"
        if self.slopes is not None:
            if self.slopes.dtype != np.float32 or self.slopes.shape != (self.heads,):
                return f"its slopes are {self.slopes.dtype} {self.slopes.shape}, not float32 {(self.heads,)}"
            if not np.isfinite(self.slopes).all():
                return f"its slope {self.slopes[~np.isfinite(self.slopes)][0]} is not finite"
        return None

    def _state_fault(self) -> str | None:
        has_key, has_value = self.key is not None, self.value is not None
        if self.state is None:
            return None if has_key and has_value else "it has no state, so it needs a key and a value"
        spec = self.state.spec
        if not isinstance(spec, KVCache):
            return f"its state {self.state.name} is not a KV cache"
        own = (self.kv_heads, self.key_dim, self.value_dim)
        if own != (spec.kv_heads, spec.key_dim, spec.value_dim):
            return (
                f"it has {own[0]} KV heads of widths {own[1]} and {own[2]}, but its state {self.state.name} "
                f"has {spec.kv_heads} of {spec.key_dim} and {spec.value_dim}"
            )
        if (has_value and not has_key) or (has_key and has_value == spec.values_in_keys):
            return f"its key and value do not fit its state {self.state.name}"
        seen = self.chunk if self.window is None else self.window
        if spec.window is not None and (seen is None or seen > spec.window):
            return f"it reads further back than the window of {spec.window} of its state {self.state.name}"
        return None

    def evaluate(self, step: Step) -> Array:
        batch, group = step.batch, self.heads // self.kv_heads
        query = step[self.query].reshape(-1, self.kv_heads, group, self.key_dim)
        if self.state is not None and self.key is not None:
            step.keys_and_values(self.state).append(*self._keys_and_values(step, slice(None)))
        out = np.empty((*query.shape[:-1], self.value_dim), np.float32)
        ends = batch.seen()
        for sequence in np.unique(batch.sequences).tolist():
            rows = np.flatnonzero(batch.sequences == sequence)
            at = batch.index[rows]
            first, end = self._first(int(at[0])), int(ends[rows].max())
            if self.state is None:
                keys, own = self._keys_and_values(step, rows)
                keys, values, first = keys[:end], np.asarray(own)[:end], 0
            else:
                keys, values = step.keys_and_values(self.state).read(sequence, first, end)
            scores = np.einsum("tkgd,skd->kgts", query[rows], keys, optimize=True) * np.float32(self.scale)
            if self.soft_cap is not None:
                scores = np.tanh(scores / np.float32(self.soft_cap)) * np.float32(self.soft_cap)
            places = np.arange(first, end)
            distance = at[:, None] - places
            if self.slopes is not None:
                scores -= self.slopes.reshape(self.kv_heads, group, 1, 1) * distance.astype(np.float32)
            hidden = places >= ends[rows, None]
            if self.window is not None:
                hidden |= np.abs(distance) >= self.window
            if self.chunk is not None:
                hidden |= places < np.array([[self._first(index)] for index in at.tolist()])
            scores[..., hidden] = -np.inf
            out[rows] = np.einsum("kgts,skd->tkgd", self._weights(step, scores), values, optimize=True)
        return out.reshape(len(query), -1)

    def _first(self, index: int) -> int:
        """Returns the first entry that a row at `index` sees."""
        if self.chunk is not None:
            return index // self.chunk * self.chunk
        return 0 if self.window is None else max(0, index - self.window + 1)

    def _keys_and_values(self, step: Step, rows: slice | NDArray[np.intp]) -> tuple[Array, Array | None]:
        assert self.key is not None
        keys = step[self.key].reshape(-1, self.kv_heads, self.key_dim)[rows]
        if self.value is None:
            return keys, None
        return keys, step[self.value].reshape(-1, self.kv_heads, self.value_dim)[rows]

    def _weights(self, step: Step, scores: Array) -> Array:
        """Returns the softmax, with sinks, over the last axis of `[KV heads, group, tokens, keys]`."""
        most = scores.max(axis=-1, keepdims=True)
        weights: Array
        if self.sinks is None:
            weights = np.exp(scores - most)
            weights /= weights.sum(axis=-1, keepdims=True)
            return weights
        sinks = step.weight(self.sinks).reshape(*scores.shape[:2], 1, 1)
        most = np.maximum(most, sinks)
        weights = np.exp(scores - most)
        weights /= weights.sum(axis=-1, keepdims=True) + np.exp(sinks - most)
        return weights
