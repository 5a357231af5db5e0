"""Attention of Gemma 4's layers."""

from __future__ import annotations

from zigai_core.contracts.descriptor import Pairing
from zigai_core.contracts.graph import Value
from zigai_core.ops.blocks import DecoderShape, projections
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import RopeFrequencies
from zigai_gemma.shared_caches import Cache


def attention(
    g: GraphBuilder,
    x: Value,
    at: str,
    shape: DecoderShape,
    rope: RopeFrequencies,
    cache: Cache,
    keys_as_values: bool | None = False,
    *,
    window: int | None,
    pairing: Pairing,
) -> Value:
    """Appends attention without the output projection: `[tokens, width]` to `[tokens, heads · head_dim]`.

    A layer that reads the cache of another has queries alone. Scores are not scaled. Queries and keys have a
    norm with weights for each head, values one without. `keys_as_values`: whether the values of a layer
    without a window are the projection to keys; None: if it has no matrix for values.
    """
    dim, epsilon = shape.head_dim, shape.epsilon

    def rotated(y: Value, part: str) -> Value:
        y = g.rms_norm(y, f"{at}.{part}_norm", epsilon, group=dim)
        return g.rope(y, dim, rope.frequencies, pairing, magnitude=rope.magnitude, name=f"{at}.{part}_rope")

    if cache.shared:
        q, k, v = _queries(g, x, at, shape), None, None
    else:
        q, k, v = _projections(g, x, at, shape, keys_as_values=keys_as_values if window is None else False)
        k, v = rotated(k, "attn_k"), unit_heads(g, v, f"{at}.attn_v_norm", epsilon, dim)
    return g.attention(
        rotated(q, "attn_q"),
        k,
        v,
        state=cache.state,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=dim,
        scale=1.0,
        window=window,
        name=f"{at}.attention",
    )


def unit_heads(g: GraphBuilder, x: Value, name: str, epsilon: float, dim: int) -> Value:
    """Appends RMSNorm without weights of each head of `x`, which is of the same shape.

    `x / √(mean(x²) + e)` is `√n · x / √(sum(x²) + n e)` of the n elements of a head.
    """
    return g.scale(g.l2_norm(x, epsilon * dim, group=dim, name=f"{name}_length"), dim**0.5, name=name)


def _queries(g: GraphBuilder, x: Value, at: str, shape: DecoderShape) -> Value:
    """The queries of a layer that may have a projection of keys and values which nothing reads."""
    width, both = shape.heads * shape.head_dim, 2 * shape.kv_heads * shape.head_dim
    if g.has(f"{at}.attn_qkv.weight"):
        fused = g.linear(x, f"{at}.attn_qkv", width + both)
        return g.columns(fused, 0, width, name=f"{at}.attn_q")
    g.leave_out(f"{at}.attn_[kv]*", "the layer reads the keys and values of an earlier one")
    return g.linear(x, f"{at}.attn_q", width)


def _projections(
    g: GraphBuilder, x: Value, at: str, shape: DecoderShape, *, keys_as_values: bool | None
) -> tuple[Value, Value, Value]:
    """Queries, keys and values, which are the projection to keys if `keys_as_values`."""
    if keys_as_values is None:
        keys_as_values = not any(g.has(f"{at}.{part}.weight") for part in ("attn_v", "attn_qkv"))
    if not keys_as_values:
        return projections(g, x, at, shape)
    q = g.linear(x, f"{at}.attn_q", shape.heads * shape.head_dim)
    k = g.linear(x, f"{at}.attn_k", shape.kv_heads * shape.head_dim)
    return q, k, k
