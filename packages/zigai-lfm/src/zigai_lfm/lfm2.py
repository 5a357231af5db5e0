"""`lfm2`: LFM2 and LFM2.5 (Liquid AI, 2025, arXiv:2511.23404)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.blocks import gated
from zigai_core.ops.builder import GraphBuilder
from zigai_lfm.layers import hybrid


def lfm2(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: layers of gated short convolutions and of attention, each with a gated feed-forward
    layer."""
    hidden = model.hyperparameters.integer("feed_forward_length", minimum=1)

    def feed_forward(g: GraphBuilder, x: Value, layer: int) -> Value:
        return gated(g, x, f"blk.{layer}", hidden)

    return hybrid(model, context=context, feed_forward=feed_forward)
