"""The part of `GraphBuilder` for rotary position embedding and attention."""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import PluginError, ShapeError
from zigai_core.contracts.graph import TOKENS, Value
from zigai_core.contracts.state import KVCache, State
from zigai_core.ops.builder_base import BuilderPart
from zigai_core.ops.operations import Attention, Pairing, Rope


class AttentionBuilder(BuilderPart):
    """Methods of `GraphBuilder` for rotary position embedding and attention."""

    def rope(
        self,
        x: Value,
        head_dim: int,
        frequencies: NDArray[np.float32],
        pairing: Pairing,
        *,
        name: str,
        magnitude: float = 1.0,
        sections: NDArray[np.int32] | None = None,
    ) -> Value:
        """Rotary position embedding of each head of `x`, which has a row for each token: see `Rope`."""
        if pairing not in get_args(Pairing):
            known = " and ".join(get_args(Pairing))
            raise PluginError(f"{name}: there is no pairing {pairing!r}, only {known}")
        if x.rows != TOKENS:
            raise ShapeError(f"{name}: positions belong to tokens, but {x.name} has {x.rows} rows")
        if head_dim < 1 or x.width % head_dim or 2 * len(frequencies) > head_dim:
            raise ShapeError(
                f"{name}: a row of {x.width} elements is not whole heads of {head_dim}, or "
                f"{len(frequencies)} rotated pairs do not fit into a head"
            )
        value = Value(name, x.width, x.rows)
        return self.append(Rope(value, x, head_dim, frequencies, pairing, magnitude, sections))

    def attention(
        self,
        query: Value,
        key: Value | None,
        value: Value | None,
        *,
        state: str | State | None,
        heads: int,
        kv_heads: int,
        head_dim: int,
        name: str,
        value_dim: int | None = None,
        scale: float | None = None,
        window: int | None = None,
        soft_cap: float | None = None,
        chunk: int | None = None,
        sinks: str | None = None,
        slopes: NDArray[np.float32] | None = None,
    ) -> Value:
        """Attention over a sequence's keys and values: `[tokens, heads · value_dim]`. See `Attention`.

        `state` is the name of a new KV cache, in which `window` or `chunk` limit how long entries are kept; a
        state that already exists; or None in an encoder, whose sequences are never continued.

        `head_dim` is the width of a head's queries and keys, and of its values if `value_dim` is None.
        `scale` defaults to `1/√head_dim`. `sinks` names the tensor `{sinks}.weight`. Raises `ShapeError` for
        attributes out of range, or values that do not fit them.
        """
        value_dim = head_dim if value_dim is None else value_dim
        scale = max(1, head_dim) ** -0.5 if scale is None else scale
        logits = None if sinks is None else self._weight(f"{sinks}.weight", (heads,))
        if isinstance(state, str):
            kept = chunk if window is None else window
            state = self.state(state, KVCache(kv_heads, head_dim, value_dim, kept))
        attention = Attention(
            Value(name, heads * value_dim, query.rows),
            query,
            key,
            value,
            state,
            heads,
            kv_heads,
            head_dim,
            value_dim,
            scale,
            window,
            soft_cap,
            chunk,
            logits,
            slopes,
        )
        return self.append(attention)
