"""`gemma-embedding`: EmbeddingGemma (Schechter Vera et al., 2025, arXiv:2509.20354), which embeds texts."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import DecoderShape
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.pooling import pooling_kind
from zigai_core.ops.windows import windowed_layers
from zigai_gemma.layers import layer, scaled_embedding
from zigai_gemma.windows import two_ropes


def gemma_embedding(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: Gemma 3's layers without a cache, pooling, and dense layers if the file has them.

    All tokens of a text see each other, in layers with a window of n those that are at most n // 2 away
    (`LLAMA_SWA_TYPE_SYMMETRIC` of llama.cpp; transformers, `Gemma3TextConfig`).
    """
    hp, shape = model.hyperparameters, DecoderShape.of(model.hyperparameters)
    window = hp.integer("attention.sliding_window", minimum=1) // 2 + 1
    if hp.flag("attention.causal", False):
        raise hp.unsupported("attention.causal", "is true, but here all tokens of a text see each other")
    kind = pooling_kind(hp)

    g = GraphBuilder(model.tensors)
    full, local = two_ropes(g, hp, shape.head_dim, context=context)
    x = scaled_embedding(g, shape.width)
    for place, is_local in enumerate(windowed_layers(hp, shape.layers, 6)):
        x = layer(
            g,
            x,
            f"blk.{place}",
            shape,
            local if is_local else full,
            pairing=model.conventions.rope_pairing,
            scale=hp.number("attention.scale", 0.0, minimum=0.0) or shape.head_dim**-0.5,
            window=window if is_local else None,
            qk_norm=True,
            cached=False,
        )
    x = g.rms_norm(x, "output_norm", shape.epsilon)
    x = g.pool(x, kind) if kind else g.select(x)
    for name in ("dense_2", "dense_3"):
        if g.has(f"{name}.weight") or f"{name}_feat_out" in hp:
            width = hp.integer(f"{name}_feat_out", g.shape(f"{name}.weight")[0], minimum=1)
            if hp.integer(f"{name}_feat_in", x.width) != x.width:
                raise hp.error(f"{name}_feat_in", f"is not {x.width}, the width of what the layer reads")
            x = g.linear(x, name, width)
    g.output("hidden", x)
    return g.finish()
