"""`lfm2moe`: LFM2-8B-A1B and LFM2-24B-A2B (Liquid AI, 2025, arXiv:2511.23404)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.blocks import gated
from zigai_core.ops.builder import GraphBuilder
from zigai_lfm.layers import hybrid

_SIGMOID = 2
_EPSILON = 1e-6
"""What is added to the sum by which shares are divided: transformers (models/lfm2_moe)."""


def lfm2moe(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: LFM2 with mixtures of experts in the layers from `leading_dense_block_count` on.

    An expert's score is the sigmoid of its logit; a bias, if the file has one, counts for the choice of
    experts alone. The shares of the chosen ones are divided by their sum, unless `expert_weights_norm` is
    false, and multiplied by `expert_weights_scale`.
    """
    hp = model.hyperparameters
    layers = hp.integer("block_count", minimum=1, maximum=4096)
    dense = hp.integer("leading_dense_block_count", 0)
    hidden = hp.integer("feed_forward_length", minimum=1) if dense else 0
    count = hp.integer("expert_count", minimum=1, maximum=65536)
    used = hp.integer("expert_used_count", minimum=1, maximum=count)
    widths = hp.integers("expert_feed_forward_length", layers, minimum=1)
    kind = hp.integer("expert_gating_func")
    if kind != _SIGMOID:
        raise hp.unsupported("expert_gating_func", f"is {kind}, other than {_SIGMOID}, the sigmoid")
    renormalise = hp.flag("expert_weights_norm", True)
    scale = hp.number("expert_weights_scale", 0.0, minimum=0.0) or 1.0

    def feed_forward(g: GraphBuilder, x: Value, layer: int) -> Value:
        at = f"blk.{layer}"
        if layer < dense:
            return gated(g, x, at, hidden)
        bias = f"{at}.exp_probs_b.bias"
        shares = g.route(
            g.linear(x, f"{at}.ffn_gate_inp", count),
            used=used,
            kind="sigmoid",
            bias=bias if g.has(bias) else None,
            renormalise=renormalise,
            epsilon=_EPSILON if renormalise else 0.0,
            scale=scale,
            name=f"{at}.ffn_shares",
        )
        return g.experts(x, shares, at, used=used, hidden=widths[layer])

    return hybrid(model, context=context, feed_forward=feed_forward)
