"""The mixture of experts of GLM-4.5."""

from __future__ import annotations

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.graph import Value
from zigai_core.ops.blocks import Block, gated
from zigai_core.ops.builder import GraphBuilder

SIGMOID = 2
"""`expert_gating_func` of all members: gguf's `ExpertGatingFuncType`."""

EPSILON = 1e-20
"""Added to the sum of the shares that are divided by it: transformers, models/glm4_moe."""


def experts(hp: Hyperparameters) -> Block:
    """Returns the block: shares by sigmoid, a bias for the choice, and experts that every token uses.

    The latter are one gated layer of `expert_shared_count` times an expert's width. Of groups of experts,
    those whose two largest shares have the largest sum are used. Raises `FormatError` for a key that is
    missing or out of range, `UnsupportedError` for another gate.
    """
    count = hp.integer("expert_count", minimum=1, maximum=65536)
    used = hp.integer("expert_used_count", minimum=1, maximum=count)
    hidden = hp.integer("expert_feed_forward_length", minimum=1)
    shared = hp.integer("expert_shared_count", maximum=65536)
    gate = hp.integer("expert_gating_func", 0) or SIGMOID
    if gate != SIGMOID:
        raise hp.unsupported("expert_gating_func", f"is {gate}, which is not supported; {SIGMOID} is")
    groups = hp.integer("expert_group_count", 1) or 1
    groups_used = hp.integer("expert_group_used_count", groups, minimum=1) if groups > 1 else 1
    renormalise = hp.flag("expert_weights_norm", False)
    scale = hp.number("expert_weights_scale", 1.0) or 1.0  # 0: not set

    def block(g: GraphBuilder, x: Value, at: str) -> Value:
        shares = g.route(
            g.linear(x, f"{at}.ffn_gate_inp", count),
            used=used,
            kind="sigmoid",
            bias=f"{at}.exp_probs_b.bias",
            groups=groups,
            groups_used=groups_used,
            group_best=2 if groups > 1 else 1,
            renormalise=renormalise,
            scale=scale,
            epsilon=EPSILON if renormalise else 0.0,
            name=f"{at}.ffn_shares",
        )
        y = g.experts(x, shares, at, used=used, hidden=hidden)
        if not shared:
            return y
        return g.add(y, gated(g, x, at, shared * hidden, part="_shexp"), name=f"{at}.ffn_out")

    return block
