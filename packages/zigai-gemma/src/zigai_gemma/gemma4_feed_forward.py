"""The feed-forward part of Gemma 4's layers."""

from __future__ import annotations

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.graph import Value
from zigai_core.ops.blocks import DecoderShape, gated
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import Activation
from zigai_gemma.gemma4_sizes import ExpertSizes

ACTIVATION: Activation = "gelu_tanh"


def feed_forward(g: GraphBuilder, x: Value, at: str, shape: DecoderShape, hp: Hyperparameters) -> Value:
    """Appends the feed-forward part of a layer, with the norms before and after it: of the shape of `x`.

    A layer with experts adds a mixture of experts to its dense layer, each with a norm
    before and after it.
    """
    epsilon = shape.epsilon
    h = gated(g, g.rms_norm(x, f"{at}.ffn_norm", epsilon), at, shape.hidden, ACTIVATION)
    if any(g.has(f"{at}.{part}.weight") for part in ("ffn_down_exps", "pre_ffw_norm_2")):
        h = g.rms_norm(h, f"{at}.post_ffw_norm_1", epsilon)
        y = _mixture(g, x, at, epsilon, ExpertSizes.of(hp))
        h = g.add(h, g.rms_norm(y, f"{at}.post_ffw_norm_2", epsilon), name=f"{at}.ffn_both")
    return g.rms_norm(h, f"{at}.post_ffw_norm", epsilon)


def _mixture(g: GraphBuilder, x: Value, at: str, epsilon: float, experts: ExpertSizes) -> Value:
    """The experts, which the normalised residual stream chooses: its shares add up to 1, before each
    expert's factor (`ffn_down_exps.scale`).

    The router's input is RMSNorm without weights over √width, which is a row of length 1, times a vector.
    """
    h = g.l2_norm(x, epsilon * x.width, name=f"{at}.router_length")
    h = g.column_scale(h, f"{at}.ffn_gate_inp.scale", name=f"{at}.router_input")
    scores = g.linear(h, f"{at}.ffn_gate_inp", experts.count)
    shares = g.route(scores, used=experts.used, renormalise=True, name=f"{at}.ffn_shares")
    if g.has(f"{at}.ffn_down_exps.scale"):
        shares = g.column_scale(shares, f"{at}.ffn_down_exps.scale", name=f"{at}.ffn_scaled_shares")
    y = g.rms_norm(x, f"{at}.pre_ffw_norm_2", epsilon)
    return g.experts(y, shares, at, used=experts.used, hidden=experts.hidden, activation=ACTIVATION)
