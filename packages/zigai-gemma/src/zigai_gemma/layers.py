"""The layers of Gemma 2, Gemma 3 and EmbeddingGemma, and the ends that all members share."""

from __future__ import annotations

from zigai_core.contracts.descriptor import Pairing
from zigai_core.contracts.graph import Value
from zigai_core.ops.blocks import DecoderShape, gated, projections
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import RopeFrequencies


def layer(
    g: GraphBuilder,
    x: Value,
    at: str,
    shape: DecoderShape,
    rope: RopeFrequencies,
    *,
    pairing: Pairing,
    scale: float,
    window: int | None,
    soft_cap: float | None = None,
    qk_norm: bool = False,
    cached: bool = True,
    last: bool = False,
) -> Value:
    """Appends a layer with norms before and after attention and the feed-forward layer, the latter GeGLU.

    `[tokens, width]` to the same shape, or with `last` to `[wanted, width]`. `scale`, `window` and `soft_cap`
    are those of `GraphBuilder.attention`; `qk_norm`: RMSNorm of each head of queries and keys before RoPE;
    without `cached`, all rows of a sequence see each other, as in an encoder.
    """
    dim, epsilon = shape.head_dim, shape.epsilon
    h = g.rms_norm(x, f"{at}.attn_norm", epsilon)
    q, k, v = projections(g, h, at, shape)
    if qk_norm:
        q = g.rms_norm(q, f"{at}.attn_q_norm", epsilon, group=dim)
        k = g.rms_norm(k, f"{at}.attn_k_norm", epsilon, group=dim)
    q = g.rope(q, dim, rope.frequencies, pairing, magnitude=rope.magnitude, name=f"{at}.attn_q_rope")
    k = g.rope(k, dim, rope.frequencies, pairing, magnitude=rope.magnitude, name=f"{at}.attn_k_rope")
    h = g.attention(
        q,
        k,
        v,
        state=at if cached else None,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=dim,
        value_dim=shape.value_dim,
        scale=scale,
        window=window,
        soft_cap=soft_cap,
        name=f"{at}.attention",
    )
    if last:  # from here on only the output rows are computed
        h, x = g.select(h, name=f"{at}.attn_wanted"), g.select(x, name=f"{at}.wanted")
    h = g.linear(h, f"{at}.attn_output", shape.width)
    x = g.add(x, g.rms_norm(h, f"{at}.post_attention_norm", epsilon), name=f"{at}.attn_residual")
    h = g.rms_norm(x, f"{at}.ffn_norm", epsilon)
    h = gated(g, h, at, shape.hidden, "gelu_tanh")
    return g.add(x, g.rms_norm(h, f"{at}.post_ffw_norm", epsilon), name=f"{at}.ffn_residual")


def scaled_embedding(g: GraphBuilder, width: int) -> Value:
    """Appends the embedding times √width: `[tokens, width]`."""
    return g.scale(g.embedding("token_embd", width), width**0.5, name="embedding_scaled")


def head(g: GraphBuilder, x: Value, epsilon: float, cap: float = 0.0) -> None:
    """Appends the last norm and the head, tied unless the file has `output.weight`, and names the outputs.

    `cap` is the soft cap of the logits, 0 for none.
    """
    x = g.rms_norm(x, "output_norm", epsilon)
    g.output("hidden", x)
    weight = "output" if g.has("output.weight") else "token_embd"
    logits = g.linear(x, weight, g.shape(f"{weight}.weight")[0], name="uncapped" if cap else "logits")
    g.output("logits", g.soft_cap(logits, cap, name="logits") if cap else logits)


def leave_out_images(g: GraphBuilder) -> None:
    """Leaves out the tensors of a vision tower and its projector, which some files hold."""
    for pattern in ("v.*", "mm.*"):
        g.leave_out(pattern, "images are not supported, texts are")
