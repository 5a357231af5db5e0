"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass

from zigai_core.contracts.descriptor import Hyperparameters, Pairing
from zigai_core.contracts.graph import Value
from zigai_core.contracts.state import KVCache
from zigai_core.ops.builder import GraphBuilder
from zigai_deepseek.rope import LatentRope

EPSILON = 1e-6
"""Epsilon of the norms of latents, whatever that of the other norms is: transformers, models/deepseek_v3."""


@dataclass(frozen=True)
class LatentShape:
    """Numbers of heads and of elements.

    Of a head's query and key, `plain` elements are not rotated and `rotated` are; the latter are one key for
    all heads. Keys and values come of a latent of `rank` elements, queries of one of `query_rank`, or of the
    input if that is 0. `value` is the width of a head's value. `absorbed`: see `latent_attention`.
    """

    heads: int
    rank: int
    query_rank: int
    plain: int
    rotated: int
    value: int
    absorbed: bool

    @classmethod
    def of(cls, hp: Hyperparameters) -> LatentShape:
        """Returns the sizes from a file. Raises `FormatError` for a key that is missing or out of range.

        Files that hold `attn_k_b` state the widths of the latent as those of keys and values, and those of
        heads under keys of their own; older files, which hold `attn_kv_b`, have the latter alone.
        """
        heads = hp.integer("attention.head_count", minimum=1)
        rank = hp.integer("attention.kv_lora_rank", minimum=1)
        rotated = hp.integer("rope.dimension_count", minimum=2)
        absorbed = "attention.key_length_mla" in hp
        of_heads = "_mla" if absorbed else ""
        key = hp.integer(f"attention.key_length{of_heads}", minimum=1)
        value = hp.integer(f"attention.value_length{of_heads}", minimum=1)
        if key <= rotated:
            raise hp.error(
                f"attention.key_length{of_heads}", f"must be above rope.dimension_count, {rotated}"
            )
        expected = {
            "attention.key_length": rank + rotated if absorbed else key,
            "attention.value_length": rank if absorbed else value,
            "attention.head_count_kv": 1 if absorbed else heads,
        }
        for name, number in expected.items():
            if hp.integer(name, number) != number:
                raise hp.error(name, f"must be {number}")
        query_rank = hp.integer("attention.q_lora_rank", 0)
        return cls(heads, rank, query_rank, key - rotated, rotated, value, absorbed)


def latent_attention(
    g: GraphBuilder,
    x: Value,
    at: str,
    shape: LatentShape,
    rope: LatentRope,
    *,
    pairing: Pairing,
    last: bool,
) -> Value:
    """Appends attention without the output projection: `[tokens, width]` to `[rows, heads · value]`.

    With `last`, rows are the output rows, else tokens. If it is absorbed, with `attn_k_b` and `attn_v_b`, a
    matrix for each head, all heads share one key, the latent and the rotated elements, and the latent is the
    value, too: k_b is absorbed into queries and v_b into outputs, so that the cache holds the latent alone.
    Else keys and values of each head are computed by `attn_kv_b`.
    """

    def rotated(y: Value, name: str) -> Value:
        return g.rope(y, shape.rotated, rope.frequencies, pairing, magnitude=rope.magnitude, name=name)

    heads, whole = shape.heads, shape.plain + shape.rotated
    if shape.query_rank:
        q = g.rms_norm(g.linear(x, f"{at}.attn_q_a", shape.query_rank), f"{at}.attn_q_a_norm", EPSILON)
        q = g.linear(q, f"{at}.attn_q_b", heads * whole)
    else:
        q = g.linear(x, f"{at}.attn_q", heads * whole)
    plain = g.columns(q, 0, shape.plain, groups=heads, name=f"{at}.attn_q_plain")
    turned = g.columns(q, shape.plain, shape.rotated, groups=heads, name=f"{at}.attn_q_rotary")
    turned = rotated(turned, f"{at}.attn_q_rope")

    kv = g.linear(x, f"{at}.attn_kv_a_mqa", shape.rank + shape.rotated)
    latent = g.columns(kv, 0, shape.rank, name=f"{at}.attn_kv_a")
    latent = g.rms_norm(latent, f"{at}.attn_kv_a_norm", EPSILON)
    key = g.columns(kv, shape.rank, shape.rotated, name=f"{at}.attn_k_rotary")
    key = rotated(key, f"{at}.attn_k_rope")

    value = None
    if shape.absorbed:
        plain = g.head_linear(plain, f"{at}.attn_k_b", heads, shape.rank)
        key = g.concat(latent, key, name=f"{at}.attn_k")
        kv_heads, dim, value_dim = 1, shape.rank + shape.rotated, shape.rank
    else:
        both = g.linear(latent, f"{at}.attn_kv_b", heads * (shape.plain + shape.value))
        own = g.columns(both, 0, shape.plain, groups=heads, name=f"{at}.attn_k_plain")
        key = g.concat(own, key, groups=heads, shared=True, name=f"{at}.attn_k")
        value = g.columns(both, shape.plain, shape.value, groups=heads, name=f"{at}.attn_v")
        kv_heads, dim, value_dim = heads, whole, shape.value
    h = g.attention(
        g.concat(plain, turned, groups=heads, name=f"{at}.attn_q_whole"),
        key,
        value,
        state=g.state(at, KVCache(kv_heads, dim, value_dim, values_in_keys=shape.absorbed)),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=dim,
        value_dim=value_dim,
        scale=whole**-0.5 * rope.score,
        name=f"{at}.attention",
    )
    h = g.select(h, name=f"{at}.attn_wanted") if last else h
    return g.head_linear(h, f"{at}.attn_v_b", heads, shape.value) if shape.absorbed else h
