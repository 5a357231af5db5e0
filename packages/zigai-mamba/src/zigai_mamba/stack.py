"""A stack of layers that are a norm and a mixer each, without attention and feed-forward layers."""

from __future__ import annotations

from collections.abc import Callable

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.blocks import head
from zigai_core.ops.builder import GraphBuilder

Mixer = Callable[[GraphBuilder, Value, str, bool], Value]
"""`(builder, input, prefix of the layer's tensors, whether it is the last) -> output`, of the same width; the
last layer's has output rows."""


def stack(model: ModelDescriptor, mixer: Mixer) -> Graph:
    """Builds the model: embedding, layers with residuals, norm, head.

    Raises `FormatError`, `ShapeError` and `UnsupportedError` as an `Architecture`.
    """
    hp, g = model.hyperparameters, GraphBuilder(model.tensors)
    layers = hp.integer("block_count", minimum=1, maximum=4096)
    epsilon = hp.number("attention.layer_norm_rms_epsilon", minimum=0.0)
    x = g.embedding("token_embd", hp.integer("embedding_length", minimum=1))
    for layer in range(layers):
        at, last = f"blk.{layer}", layer == layers - 1
        h = mixer(g, g.rms_norm(x, f"{at}.attn_norm", epsilon), at, last)
        if last:  # from here on only the output rows are computed
            x = g.select(x, name=f"{at}.wanted")
        x = g.add(x, h, name=f"{at}.residual")
    head(g, g.rms_norm(x, "output_norm", epsilon))
    return g.finish()
