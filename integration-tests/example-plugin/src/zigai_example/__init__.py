"""The architecture `example`: a decoder of the LLaMA kind, each operation written out."""

from __future__ import annotations

import numpy as np

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError
from zigai_core.contracts.graph import Graph
from zigai_core.ops.builder import GraphBuilder


def example(model: ModelDescriptor, *, context: int) -> Graph:
    """The graph of a model whose file has `general.architecture = example`."""
    hp = model.hyperparameters
    width = hp.integer("embedding_length", minimum=1)
    hidden = hp.integer("feed_forward_length", minimum=1)
    layers = hp.integer("block_count", minimum=1)
    heads = hp.integer("attention.head_count", minimum=1)
    kv_heads = hp.integer("attention.head_count_kv", heads, minimum=1)
    epsilon = hp.number("attention.layer_norm_rms_epsilon", minimum=0.0)
    base = hp.number("rope.freq_base", 10000.0, minimum=1.0)
    size = width // heads
    rotated = hp.integer("rope.dimension_count", size, minimum=2, maximum=size)  # the rest stays as it is
    if rotated % 2:
        raise FormatError(f"rope.dimension_count is {rotated}, but pairs of elements are rotated")
    # Pair i of a head is rotated by position · base^(-2i / rotated elements) radians.
    frequencies = (base ** (-np.arange(0, rotated, 2) / rotated)).astype(np.float32)
    pairing = model.conventions.rope_pairing  # which elements of a head form a pair

    g = GraphBuilder(model.tensors)
    x = g.embedding("token_embd", width)
    for layer in range(layers):
        at = f"blk.{layer}"
        h = g.rms_norm(x, f"{at}.attn_norm", epsilon)
        q = g.linear(h, f"{at}.attn_q", heads * size)
        k = g.linear(h, f"{at}.attn_k", kv_heads * size)
        v = g.linear(h, f"{at}.attn_v", kv_heads * size)
        q = g.rope(q, size, frequencies, pairing, name=f"{at}.attn_q_rope")
        k = g.rope(k, size, frequencies, pairing, name=f"{at}.attn_k_rope")
        name = f"{at}.attention"
        h = g.attention(q, k, v, state=at, heads=heads, kv_heads=kv_heads, head_dim=size, name=name)
        if layer == layers - 1:  # from here on only the output rows are computed
            h, x = g.select(h, name=f"{at}.attn_wanted"), g.select(x, name=f"{at}.wanted")
        x = g.add(x, g.linear(h, f"{at}.attn_output", width), name=f"{at}.attn_residual")
        h = g.rms_norm(x, f"{at}.ffn_norm", epsilon)
        gate, up = g.linear(h, f"{at}.ffn_gate", hidden), g.linear(h, f"{at}.ffn_up", hidden)
        h = g.gated_activation(gate, up, name=f"{at}.ffn_act", activation="silu")
        x = g.add(x, g.linear(h, f"{at}.ffn_down", width), name=f"{at}.ffn_residual")
    x = g.rms_norm(x, "output_norm", epsilon)
    g.output("hidden", x)
    head = "output" if g.has("output.weight") else "token_embd"
    g.output("logits", g.linear(x, head, g.shape(f"{head}.weight")[0], name="logits"))
    return g.finish()
