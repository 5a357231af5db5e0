"""`glm4moe`: GLM-4.5, GLM-4.5-Air and GLM-4.6 (GLM-4.5 Team, 2025, arXiv:2508.06471).

Sources: llama.cpp (src/models/glm4-moe.cpp) and transformers (models/glm4_moe).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import DecoderShape, attention, gated, head
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies
from zigai_glm.experts import experts
from zigai_glm.layers import without_layers_ahead


def glm4moe(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: `leading_dense_block_count` gated layers, then mixtures of experts.

    Queries and keys have norms of each head if the file holds them (GLM-4.5, not GLM-4.5-Air). The norm
    before the feed-forward layer is `post_attention_norm`, despite its name.
    """
    hp = model.hyperparameters
    g = GraphBuilder(model.tensors)
    shape = without_layers_ahead(g, hp, DecoderShape.of(hp))
    dense = hp.integer("leading_dense_block_count", 0)
    mixture = experts(hp) if dense < shape.layers else None
    rope = rope_frequencies(g, hp, shape.head_dim, context=context)
    has_norms = any(g.has(f"blk.{layer}.attn_q_norm.weight") for layer in range(shape.layers))
    x = g.embedding("token_embd", shape.width)
    for layer in range(shape.layers):
        at = f"blk.{layer}"
        h = g.rms_norm(x, f"{at}.attn_norm", shape.epsilon)
        h = attention(g, h, layer, shape, rope, pairing=model.conventions.rope_pairing, qk_norm=has_norms)
        if layer == shape.layers - 1:  # from here on only the output rows are computed
            h, x = g.select(h, name=f"{at}.attn_wanted"), g.select(x, name=f"{at}.wanted")
        x = g.add(x, g.linear(h, f"{at}.attn_output", shape.width), name=f"{at}.attn_residual")
        h = g.rms_norm(x, f"{at}.post_attention_norm", shape.epsilon)
        h = gated(g, h, at, shape.hidden) if mixture is None or layer < dense else mixture(g, h, at)
        x = g.add(x, h, name=f"{at}.ffn_residual")
    head(g, g.rms_norm(x, "output_norm", shape.epsilon))
    return g.finish()
