"""`bert`: BERT (Devlin et al., 2018, arXiv:1810.04805), which embeds texts (MiniLM, BGE, E5)."""

from __future__ import annotations

from zigai_bert.layers import embedding, encoder_shape, post_norm_layer
from zigai_bert.outputs import outputs
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.builder import GraphBuilder


def bert(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: learned positions, LayerNorms after the blocks, a feed-forward layer with GELU.

    GELU is by the error function, as the models were trained; llama.cpp takes the approximation by tanh.
    """
    shape = encoder_shape(model.hyperparameters)
    g = GraphBuilder(model.tensors)
    x = embedding(g, shape.width, shape.epsilon, positions=context)
    for number in range(shape.layers):
        at = f"blk.{number}"

        def feed_forward(x: Value, at: str = at) -> Value:
            h = g.linear(x, f"{at}.ffn_up", shape.hidden)
            return g.linear(g.unary(h, "gelu", name=f"{at}.ffn_act"), f"{at}.ffn_down", shape.width)

        x = post_norm_layer(g, x, at, shape, feed_forward)
    outputs(g, x, model.hyperparameters, shape.epsilon)
    return g.finish()
