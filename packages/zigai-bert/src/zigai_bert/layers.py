"""What the members share: sizes, the embedding, and attention without a cache."""

from __future__ import annotations

from collections.abc import Callable

from zigai_core.contracts.descriptor import Hyperparameters, Pairing
from zigai_core.contracts.graph import Value
from zigai_core.ops.blocks import DecoderShape, projections
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import RopeFrequencies


def encoder_shape(hp: Hyperparameters) -> DecoderShape:
    """Returns the sizes; `epsilon` is that of LayerNorms.

    Raises `FormatError` for a key that is missing or out of range, `UnsupportedError` for causal attention.
    """
    if hp.flag("attention.causal", False):
        raise hp.unsupported("attention.causal", "is true, but here all tokens of a text see each other")
    epsilon = hp.number("attention.layer_norm_epsilon", minimum=0.0)
    return DecoderShape.of(hp.replaced(attention__layer_norm_rms_epsilon=epsilon))


def embedding(g: GraphBuilder, width: int, epsilon: float, *, positions: int | None = None) -> Value:
    """Appends the normalised sum of the embeddings of token, type and position: `[tokens, width]`.

    `positions` is the context of a model with learned positions. A file may lack `token_types.weight`.
    """
    x = g.embedding("token_embd", width)
    if g.has("token_types.weight"):
        x = g.add(x, g.type_embedding("token_types", width), name="embedding_typed")
    if positions is not None:
        x = g.add(x, g.position_embedding("position_embd", width, context=positions), name="embedding")
    return g.layer_norm(x, "token_embd_norm", epsilon)


def attention(
    g: GraphBuilder,
    x: Value,
    at: str,
    shape: DecoderShape,
    *,
    rope: RopeFrequencies | None = None,
    pairing: Pairing = "half",
    window: int | None = None,
) -> Value:
    """Appends attention in which all tokens of a text see each other, and its output projection.

    `[tokens, width]` to the same shape. With `window`, they see those less than `window` tokens away.
    """

    def rotated(y: Value, name: str) -> Value:
        if rope is None:
            return y
        return g.rope(y, shape.head_dim, rope.frequencies, pairing, magnitude=rope.magnitude, name=name)

    query, key, value = projections(g, x, at, shape)
    query, key = rotated(query, f"{at}.attn_q_rope"), rotated(key, f"{at}.attn_k_rope")
    h = g.attention(
        query,
        key,
        value,
        state=None,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        value_dim=shape.value_dim,
        window=window,
        name=f"{at}.attention",
    )
    return g.linear(h, f"{at}.attn_output", shape.width)


def post_norm_layer(
    g: GraphBuilder,
    x: Value,
    at: str,
    shape: DecoderShape,
    feed_forward: Callable[[Value], Value],
    *,
    rope: RopeFrequencies | None = None,
    pairing: Pairing = "half",
) -> Value:
    """Appends a layer with LayerNorms after the residuals (Vaswani et al., 2017, arXiv:1706.03762)."""
    h = attention(g, x, at, shape, rope=rope, pairing=pairing)
    x = g.layer_norm(g.add(x, h, name=f"{at}.attn_residual"), f"{at}.attn_output_norm", shape.epsilon)
    h = feed_forward(x)
    return g.layer_norm(g.add(x, h, name=f"{at}.ffn_residual"), f"{at}.layer_output_norm", shape.epsilon)
