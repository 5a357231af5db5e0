"""`gemma2`: Gemma 2 (Gemma Team, 2024, arXiv:2408.00118)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import DecoderShape
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies
from zigai_core.ops.windows import windowed_layers
from zigai_gemma.layers import head, layer, scaled_embedding


def gemma2(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: layers with a sliding window and full ones alternate; scores and logits are capped.

    Defaults are those of llama.cpp (src/models/gemma2.cpp); a cap of 0 is none. Without `attention.scale`,
    the 27B model, of 46 layers, scales scores by its width over its heads, the others by the width of a head.
    """
    hp, shape = model.hyperparameters, DecoderShape.of(model.hyperparameters)
    window = hp.integer("attention.sliding_window", 4096) or None
    flags = windowed_layers(hp, shape.layers, 2)
    cap = hp.number("attn_logit_softcapping", 50.0, minimum=0.0)
    wide = max(1, shape.width // shape.heads) if shape.layers == 46 else shape.head_dim
    scale = hp.number("attention.scale", 0.0, minimum=0.0) or wide**-0.5

    g = GraphBuilder(model.tensors)
    rope = rope_frequencies(g, hp, shape.head_dim, context=context)
    x = scaled_embedding(g, shape.width)
    for number, flag in enumerate(flags):
        x = layer(
            g,
            x,
            f"blk.{number}",
            shape,
            rope,
            pairing=model.conventions.rope_pairing,
            scale=scale,
            window=window if flag else None,
            soft_cap=cap or None,
            last=number == shape.layers - 1,
        )
    head(g, x, shape.epsilon, hp.number("final_logit_softcapping", 30.0, minimum=0.0))
    return g.finish()
