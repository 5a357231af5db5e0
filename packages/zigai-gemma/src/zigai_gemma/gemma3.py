"""`gemma3`: the texts of Gemma 3 (Gemma Team, 2025, arXiv:2503.19786)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import DecoderShape
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.windows import windowed_layers
from zigai_gemma.layers import head, layer, leave_out_images, scaled_embedding
from zigai_gemma.windows import two_ropes


def gemma3(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: five layers with a sliding window to a full one, each kind with its RoPE base.

    Queries and keys have norms; the scaling of RoPE is for the full layers alone. Defaults are those of
    llama.cpp (src/models/gemma3.cpp); without `attention.scale`, the 27B model, of 62 layers, scales scores
    by its width over its heads, the others by the width of a head. Embeddings may stand in place of tokens,
    after these are scaled; those of an image also see each other, which is for `Batch.ends` to say.
    """
    hp, shape = model.hyperparameters, DecoderShape.of(model.hyperparameters)
    window = hp.integer("attention.sliding_window", 0) or None
    flags = windowed_layers(hp, shape.layers, 6)
    wide = max(1, shape.width // shape.heads) if shape.layers == 62 else shape.head_dim
    scale = hp.number("attention.scale", 0.0, minimum=0.0) or wide**-0.5

    g = GraphBuilder(model.tensors)
    full, local = two_ropes(g, hp, shape.head_dim, context=context)
    x = g.inputs(scaled_embedding(g, shape.width))
    for number, flag in enumerate(flags):
        is_local = flag and window is not None
        x = layer(
            g,
            x,
            f"blk.{number}",
            shape,
            local if is_local else full,
            pairing=model.conventions.rope_pairing,
            scale=scale,
            window=window if is_local else None,
            qk_norm=True,
            last=number == shape.layers - 1,
        )
    head(g, x, shape.epsilon, hp.number("final_logit_softcapping", 0.0, minimum=0.0))
    leave_out_images(g)
    return g.finish()
