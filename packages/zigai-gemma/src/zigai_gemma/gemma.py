"""`gemma`: the first generation of Gemma (Gemma Team, 2024, arXiv:2403.08295)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import DecoderShape, attention, gated
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies
from zigai_gemma.layers import head, scaled_embedding


def gemma(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: a pre-norm decoder with a scaled embedding, GeGLU, and a tied head."""
    hp, shape = model.hyperparameters, DecoderShape.of(model.hyperparameters)
    g = GraphBuilder(model.tensors)
    rope = rope_frequencies(g, hp, shape.head_dim, context=context)
    x = scaled_embedding(g, shape.width)
    for number in range(shape.layers):
        at = f"blk.{number}"
        h = g.rms_norm(x, f"{at}.attn_norm", shape.epsilon)
        h = attention(g, h, number, shape, rope, pairing=model.conventions.rope_pairing)
        if number == shape.layers - 1:  # from here on only the output rows are computed
            h, x = g.select(h, name=f"{at}.attn_wanted"), g.select(x, name=f"{at}.wanted")
        x = g.add(x, g.linear(h, f"{at}.attn_output", shape.width), name=f"{at}.attn_residual")
        h = g.rms_norm(x, f"{at}.ffn_norm", shape.epsilon)
        x = g.add(x, gated(g, h, at, shape.hidden, "gelu_tanh"), name=f"{at}.ffn_residual")
    head(g, x, shape.epsilon)
    return g.finish()
