"""The mixture of experts of gpt-oss: its router and its clamped gate."""

from __future__ import annotations

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.graph import Value
from zigai_core.ops.blocks import Block
from zigai_core.ops.builder import GraphBuilder

LIMIT = 7.0
"""The limit of gate and up without `swiglu_clamp_exp`, which files of gpt-oss do not have."""


def experts(hp: Hyperparameters) -> Block:
    """Returns the block: shares are the softmax over the scores of the chosen experts.

    An expert computes `down(min(gate, l) · sigmoid(1.702 · min(gate, l)) · (clip(up, ±l) + 1))`, with biases;
    l is `swiglu_clamp_exp`. Source: transformers, models/gpt_oss, `GptOssExperts` and `GptOssTopKRouter`.
    Raises `FormatError` for a key that is missing or out of range.
    """
    count = hp.integer("expert_count", minimum=1, maximum=65536)
    used = hp.integer("expert_used_count", minimum=1, maximum=count)
    hidden = hp.integer("expert_feed_forward_length", minimum=1)
    limit = hp.number("swiglu_clamp_exp", LIMIT, minimum=1e-6, maximum=1e30)

    def block(g: GraphBuilder, x: Value, at: str) -> Value:
        scores = g.linear(x, f"{at}.ffn_gate_inp", count)
        shares = g.route(scores, used=used, kind="softmax_chosen", name=f"{at}.ffn_shares")
        return g.experts(
            x, shares, at, used=used, hidden=hidden, activation="gelu_quick", limit=limit, up_offset=1.0
        )

    return block
