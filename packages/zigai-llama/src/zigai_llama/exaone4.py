"""`exaone4`: EXAONE 4.0 (LG AI Research, 2025, arXiv:2507.11407)."""

from __future__ import annotations

from dataclasses import replace

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import DecoderShape
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies
from zigai_core.ops.windows import windowed_layers
from zigai_llama.norms_after import Positions, norms_after


def exaone4(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: norms after the blocks, and norms of each head of queries and keys.

    With `attention.sliding_window` (32B), three layers with that window alternate with a full one, which has
    no RoPE, unless `attention.sliding_window_pattern` says otherwise; without it, all have RoPE (1.2B).
    Source: llama.cpp (src/models/exaone4.cpp), which has windows in models of 64 layers alone.
    """
    hp, shape = model.hyperparameters, DecoderShape.of(model.hyperparameters)
    g = GraphBuilder(model.tensors)
    ahead = hp.integer("nextn_predict_layers", 0, maximum=shape.layers - 1)  # they follow the others
    shape = replace(shape, layers=shape.layers - ahead)
    for layer in range(shape.layers, shape.layers + ahead):
        g.leave_out(f"blk.{layer}.*", "layers that guess several tokens ahead are not computed")
    window = hp.integer("attention.sliding_window", 0) or None
    rope = rope_frequencies(g, hp, shape.head_dim, context=context)
    layers = [Positions(rope, None)] * shape.layers
    if window is not None:
        local, full = Positions(rope, window), Positions(None, None)
        layers = [local if flag else full for flag in windowed_layers(hp, shape.layers, 4)]
    return norms_after(g, model, shape, layers, qk_norm=True)
