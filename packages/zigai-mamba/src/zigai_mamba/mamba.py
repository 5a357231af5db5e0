"""`mamba`: Mamba (Gu and Dao, 2023, arXiv:2312.00752), and Falcon Mamba (Zuo et al., 2024, arXiv:2410.05355).

Names and keys: llama.cpp (src/models/mamba-base.cpp) and its converter (conversion/mamba.py).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.builder import GraphBuilder
from zigai_mamba.mixer import convolved, softplus_step
from zigai_mamba.stack import stack


def mamba(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: layers of Mamba, each with a norm before it. `context` changes nothing.

    The step, B and C are computed from the output of the convolution; with `ssm.dt_b_c_rms`, each has a norm
    without a weight, whose epsilon is `ssm.dt_b_c_rms_epsilon`, a key that files of llama.cpp do not have:
    they have one epsilon for all norms. Every channel is a head of its own.
    """
    hp = model.hyperparameters
    inner = hp.integer("ssm.inner_size", minimum=1)
    rank = hp.integer("ssm.time_step_rank", minimum=1)
    size = hp.integer("ssm.state_size", minimum=1)
    taps = hp.integer("ssm.conv_kernel", minimum=2)
    epsilon = hp.number("attention.layer_norm_rms_epsilon", minimum=0.0)
    normed = hp.flag("ssm.dt_b_c_rms", False)
    inner_epsilon = hp.number("ssm.dt_b_c_rms_epsilon", epsilon, minimum=0.0) if normed else 0.0

    def norm(g: GraphBuilder, x: Value) -> Value:
        """RMSNorm without a weight: an L2 norm times the root of the width."""
        if not normed:
            return x
        unit = g.l2_norm(x, x.width * inner_epsilon, name=f"{x.name}_unit")
        return g.scale(unit, x.width**0.5, name=f"{x.name}_norm")

    def mixer(g: GraphBuilder, x: Value, at: str, last: bool) -> Value:
        both = g.linear(x, f"{at}.ssm_in", 2 * inner)
        z = g.columns(both, inner, inner, name=f"{at}.ssm_z")
        h = convolved(g, g.columns(both, 0, inner, name=f"{at}.ssm_x_in"), at, taps)
        parts = g.linear(h, f"{at}.ssm_x", rank + 2 * size)
        step = norm(g, g.columns(parts, 0, rank, name=f"{at}.ssm_dt_in"))
        b = norm(g, g.columns(parts, rank, size, name=f"{at}.ssm_b"))
        c = norm(g, g.columns(parts, rank + size, size, name=f"{at}.ssm_c"))
        y = g.selective_scan(
            h,
            softplus_step(g, g.linear(step, f"{at}.ssm_dt", inner), at),
            b,
            c,
            a=f"{at}.ssm_a",
            d=f"{at}.ssm_d",
            state=f"{at}.ssm",
            heads=inner,
            name=f"{at}.ssm_scan",
        )
        if last:
            z, y = g.select(z, name=f"{at}.ssm_z_wanted"), g.select(y, name=f"{at}.ssm_scan_wanted")
        return g.linear(g.gated_activation(z, y, name=f"{at}.ssm_gated"), f"{at}.ssm_out", x.width)

    return stack(model, mixer)
