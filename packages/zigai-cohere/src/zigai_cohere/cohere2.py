"""`cohere2`: Command R7B and Command A (Cohere, 2025, arXiv:2504.00698)."""

from __future__ import annotations

from zigai_cohere.layers import logits, parallel_layer, shape_of
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies
from zigai_core.ops.windows import windowed_layers


def cohere2(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: the layers of `command-r`, of which those with a window have RoPE, full ones none.

    Every fourth layer is full, unless `attention.sliding_window_pattern` says otherwise (llama.cpp,
    src/models/cohere2.cpp).
    """
    hp, shape = model.hyperparameters, shape_of(model.hyperparameters)
    window = hp.integer("attention.sliding_window", minimum=1)
    g = GraphBuilder(model.tensors)
    rope = rope_frequencies(g, hp, shape.head_dim, context=context)
    x = g.embedding("token_embd", shape.width)
    for layer, is_local in enumerate(windowed_layers(hp, shape.layers, 4)):
        x = parallel_layer(
            g,
            x,
            layer,
            shape,
            rope if is_local else None,
            pairing=model.conventions.rope_pairing,
            window=window if is_local else None,
        )
    logits(g, x, shape, hp.number("logit_scale", minimum=0.0))
    return g.finish()
