"""The feed-forward layers of the family: dense ones first, then mixtures of experts."""

from __future__ import annotations

from collections.abc import Callable

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Value
from zigai_core.ops.blocks import gated
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import RouteKind

GATES: dict[int, RouteKind] = {1: "softmax", 2: "sigmoid"}
"""Shares of experts by `expert_gating_func`: gguf's `ExpertGatingFuncType`."""

EPSILON = 1e-20
"""Added to the sum of the shares that are divided by it: transformers, models/deepseek_v3."""

FeedForward = Callable[[GraphBuilder, Value, int], Value]
"""`(builder, input, number of the layer) -> output`, of the same width."""


def feed_forward(g: GraphBuilder, hp: Hyperparameters, layers: int) -> FeedForward:
    """Returns what appends the feed-forward layer of each of so many layers.

    The first `leading_dense_block_count` are gated layers; in the others, `expert_shared_count` experts that
    every token uses, one gated layer, are added to those that the router chooses. Without
    `expert_gating_func`, shares are by sigmoid if the file has a bias for the choice, as GLM-4.7-Flash has,
    else by softmax. Of groups of experts, the best are those with the largest expert (DeepSeek-V2), or with
    sigmoid those whose two largest have the largest sum (DeepSeek-V3).

    Raises `FormatError` for a key that is missing or out of range, `UnsupportedError` for another gate.
    """
    dense = min(layers, hp.integer("leading_dense_block_count", 0))
    hidden = hp.integer("feed_forward_length", minimum=1) if dense else 0
    mixture = _mixture(g, hp, range(dense, layers)) if dense < layers else None

    def block(g: GraphBuilder, x: Value, layer: int) -> Value:
        at = f"blk.{layer}"
        return gated(g, x, at, hidden) if mixture is None or layer < dense else mixture(g, x, layer)

    return block


def _mixture(g: GraphBuilder, hp: Hyperparameters, layers: range) -> FeedForward:
    count = hp.integer("expert_count", minimum=1, maximum=65536)
    used = hp.integer("expert_used_count", minimum=1, maximum=count)
    hidden = hp.integer("expert_feed_forward_length", minimum=1)
    shared = hp.integer("expert_shared_count", maximum=65536)
    has_bias = any(g.has(f"blk.{layer}.exp_probs_b.bias") for layer in layers)
    gate = hp.integer("expert_gating_func", 0) or (2 if has_bias else 1)
    if gate not in GATES:
        raise UnsupportedError(f"expert_gating_func is {gate}, which is not supported; 1 and 2 are")
    groups = hp.integer("expert_group_count", 1) or 1
    groups_used = hp.integer("expert_group_used_count", groups, minimum=1) if groups > 1 else 1
    best = 2 if groups > 1 and GATES[gate] == "sigmoid" else 1
    renormalise = hp.flag("expert_weights_norm", False)
    scale = hp.number("expert_weights_scale", 1.0) or 1.0  # 0: not set

    def mixture(g: GraphBuilder, x: Value, layer: int) -> Value:
        at = f"blk.{layer}"
        shares = g.route(
            g.linear(x, f"{at}.ffn_gate_inp", count),
            used=used,
            kind=GATES[gate],
            bias=f"{at}.exp_probs_b.bias" if has_bias else None,
            groups=groups,
            groups_used=groups_used,
            group_best=best,
            renormalise=renormalise,
            scale=scale,
            epsilon=EPSILON if renormalise else 0.0,
            name=f"{at}.ffn_shares",
        )
        y = g.experts(x, shares, at, used=used, hidden=hidden)
        if not shared:
            return y
        return g.add(y, gated(g, x, at, shared * hidden, part="_shexp"), name=f"{at}.ffn_out")

    return mixture
