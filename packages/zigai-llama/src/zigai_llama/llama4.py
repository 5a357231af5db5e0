"""`llama4`: the text model of Llama 4 Scout and Maverick (Meta AI, 2025).

Sources: transformers (models/llama4); names and what no key says, llama.cpp (src/models/llama4.cpp).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.blocks import DecoderShape, gated, head, projections
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies
from zigai_core.ops.windows import windowed_layers

INTERVAL = 4
"""Every fourth layer has no RoPE, and by default sees the whole text, not its chunk alone."""
CHUNK, TEMPERATURE_LENGTH, TEMPERATURE_SCALE = 8192, 8192, 0.1
"""Of files without these keys: converters write none of them."""
WITHOUT_NORM = 128
"""Queries and keys have a norm unless there are so many experts, which is how Maverick is known."""


def llama4(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: attention within chunks with RoPE, then over the whole text without, three to one.

    The norm of queries and keys, after RoPE, has no weight: x / √(mean(x²) + epsilon) is √n times a vector of
    length 1 of the n elements of a head, so attention has the scale √n in place of 1/√n. An expert's share is
    the sigmoid of its score, by which its input is multiplied. Embeddings may stand in place of tokens.
    """
    hp, shape = model.hyperparameters, DecoderShape.of(model.hyperparameters)
    count = hp.integer("expert_count", minimum=1, maximum=65536)
    used = hp.integer("expert_used_count", minimum=1, maximum=count)
    step = hp.integer("interleave_moe_layer_step", minimum=1)
    hidden = hp.integer("expert_feed_forward_length", minimum=1)
    chunk = hp.integer("attention.sliding_window", CHUNK, minimum=1)
    length = hp.integer("attention.temperature_length", TEMPERATURE_LENGTH, minimum=1)
    factor = hp.number("attention.temperature_scale", TEMPERATURE_SCALE, minimum=0.0, maximum=1e6)
    chunked = windowed_layers(hp, shape.layers, INTERVAL)
    dim, pairing = shape.head_dim, model.conventions.rope_pairing
    g = GraphBuilder(model.tensors)
    rope = rope_frequencies(g, hp, dim, context=context)

    def rotated(x: Value, at: str) -> Value:
        x = g.rope(x, dim, rope.frequencies, pairing, magnitude=rope.magnitude, name=f"{at}_rope")
        if count == WITHOUT_NORM:
            return x
        return g.l2_norm(x, dim * shape.epsilon, group=dim, name=f"{at}_normed")

    x = g.inputs(g.embedding("token_embd", shape.width))
    for layer in range(shape.layers):
        at, scale = f"blk.{layer}", None
        q, k, v = projections(g, g.rms_norm(x, f"{at}.attn_norm", shape.epsilon), at, shape)
        if (layer + 1) % INTERVAL:
            q, k = rotated(q, f"{at}.attn_q"), rotated(k, f"{at}.attn_k")
            scale = None if count == WITHOUT_NORM else dim**0.5
        elif factor:
            q = g.position_scale(q, length=length, factor=factor, offset=1, name=f"{at}.attn_q_scaled")
        h = g.attention(
            q,
            k,
            v,
            state=at,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=dim,
            value_dim=shape.value_dim,
            scale=scale,
            chunk=chunk if chunked[layer] else None,
            name=f"{at}.attention",
        )
        if layer == shape.layers - 1:  # from here on only the output rows are computed
            h, x = g.select(h, name=f"{at}.attn_wanted"), g.select(x, name=f"{at}.wanted")
        x = g.add(x, g.linear(h, f"{at}.attn_output", shape.width), name=f"{at}.attn_residual")
        h = g.rms_norm(x, f"{at}.ffn_norm", shape.epsilon)
        if (layer + 1) % step:
            h = gated(g, h, at, shape.hidden)
        else:
            scores = g.linear(h, f"{at}.ffn_gate_inp", count)
            shares = g.route(scores, used=used, kind="sigmoid", name=f"{at}.ffn_shares")
            y = g.experts(h, shares, at, used=used, hidden=hidden, weighted_input=True)
            h = g.add(y, gated(g, h, at, hidden, part="_shexp"), name=f"{at}.ffn_out")
        x = g.add(x, h, name=f"{at}.ffn_residual")
    head(g, g.rms_norm(x, "output_norm", shape.epsilon))
    return g.finish()
