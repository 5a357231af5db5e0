"""`nomic-bert`: Nomic Embed v1 and v1.5 (Nussbaum et al., 2024, arXiv:2402.01613)."""

from __future__ import annotations

from functools import partial

from zigai_bert.layers import embedding, encoder_shape, post_norm_layer
from zigai_bert.outputs import outputs
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import gated
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies


def nomic_bert(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: BERT with RoPE in place of learned positions, and SwiGLU."""
    hp, shape = model.hyperparameters, encoder_shape(model.hyperparameters)
    g = GraphBuilder(model.tensors)
    rope = rope_frequencies(g, hp, shape.head_dim, context=context)
    x = embedding(g, shape.width, shape.epsilon)
    for number in range(shape.layers):
        at = f"blk.{number}"
        feed_forward = partial(gated, g, at=at, hidden=shape.hidden, activation="silu")
        pairing = model.conventions.rope_pairing
        x = post_norm_layer(g, x, at, shape, feed_forward, rope=rope, pairing=pairing)
    outputs(g, x, hp, shape.epsilon)
    return g.finish()
