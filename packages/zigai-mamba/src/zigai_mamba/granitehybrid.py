"""`granitehybrid`: the hybrid models of Granite 4 (IBM, 2025, https://github.com/ibm-granite), and Bamba.

Keys and their meaning are llama.cpp's (src/models/granite-hybrid.cpp) and its converter's.
"""

from __future__ import annotations

from dataclasses import replace

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.blocks import Block, DecoderShape, attention, gated, head
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies
from zigai_mamba.mixer import Mamba2Shape, mamba2_mixer


def granitehybrid(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: layers with a mixer of Mamba 2, those whose `attention.head_count_kv` is not 0 with
    attention; each with a feed-forward layer, or with a mixture of experts and a shared one.

    `embedding_scale`, `residual_scale` and `attention.scale` are factors, where 0 stands for none; logits are
    divided by `logit_scale`. Attention has no RoPE if `rope.scaling.finetuned` is false.
    """
    hp = model.hyperparameters
    layers = hp.integer("block_count", minimum=1, maximum=4096)
    counts = hp.integers("attention.head_count_kv", layers)
    # Without any attention, the number of KV heads is that of no layer.
    shape = DecoderShape.of(hp.replaced(attention__head_count_kv=max(counts) or 1))
    mixer = Mamba2Shape.of(hp)
    g = GraphBuilder(model.tensors)
    residual = hp.number("residual_scale", 0.0, minimum=0.0) or 1.0
    divisor = hp.number("logit_scale", 0.0, minimum=0.0) or 1.0
    if divisor < 1e-6:
        raise hp.error("logit_scale", f"is {divisor}, but must be 0 for none, or at least 1e-06")
    scale = hp.number("attention.scale", 0.0, minimum=0.0) or None
    has_rope = hp.flag("rope.scaling.finetuned", True)
    rope = rope_frequencies(g, hp, shape.head_dim, context=context) if has_rope else None
    pairing = model.conventions.rope_pairing
    feed_forward = _feed_forward(model, shape)

    def added(x: Value, y: Value, at: str) -> Value:
        return g.add(x, g.scale(y, residual, name=f"{at}_scaled"), name=f"{at}_residual")

    factor = hp.number("embedding_scale", 0.0, minimum=0.0) or 1.0
    x = g.scale(g.embedding("token_embd", shape.width), factor, name="embedding_scaled")
    for layer, kv_heads in enumerate(counts):
        at, last = f"blk.{layer}", layer == layers - 1
        h = g.rms_norm(x, f"{at}.attn_norm", shape.epsilon)
        if kv_heads and shape.heads % kv_heads:
            what = f"is {kv_heads} in layer {layer}, for {shape.heads} heads"
            raise hp.error("attention.head_count_kv", what)
        if kv_heads:
            own = replace(shape, kv_heads=kv_heads)
            h = attention(g, h, layer, own, rope, pairing=pairing, scale=scale)
            if last:  # from here on only the output rows are computed
                h = g.select(h, name=f"{at}.attn_wanted")
            h = g.linear(h, f"{at}.attn_output", shape.width)
        else:
            h = mamba2_mixer(g, h, at, mixer, last=last)
        if last:
            x = g.select(x, name=f"{at}.wanted")
        x = added(x, h, f"{at}.attn")
        x = added(x, feed_forward(g, g.rms_norm(x, f"{at}.ffn_norm", shape.epsilon), at), f"{at}.ffn")
    head(g, g.rms_norm(x, "output_norm", shape.epsilon), scale=1 / divisor)
    return g.finish()


def _feed_forward(model: ModelDescriptor, shape: DecoderShape) -> Block:
    """A gated layer, or in a file with experts a mixture and a shared expert if the file has one."""
    hp = model.hyperparameters
    count = hp.integer("expert_count", 0, maximum=65536)
    if not count:
        return lambda g, x, at: gated(g, x, at, shape.hidden)
    used = hp.integer("expert_used_count", minimum=1, maximum=count)

    def block(g: GraphBuilder, x: Value, at: str) -> Value:
        scores = g.linear(x, f"{at}.ffn_gate_inp", count)
        shares = g.route(scores, used=used, kind="softmax_chosen", name=f"{at}.ffn_shares")
        y = g.experts(x, shares, at, used=used, hidden=shape.hidden)
        first = f"{at}.ffn_gate_shexp.weight"
        shared = hp.integer("expert_shared_feed_forward_length", g.shape(first)[0] if g.has(first) else 0)
        if not shared:
            return y
        return g.add(y, gated(g, x, at, shared, part="_shexp"), name=f"{at}.ffn_out")

    return block
