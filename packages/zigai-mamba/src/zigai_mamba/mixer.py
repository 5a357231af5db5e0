"""The mixer of Mamba 2 (Dao and Gu, 2024, arXiv:2405.21060, section 7).

Names and keys: llama.cpp (src/models/mamba-base.cpp) and its converter (conversion/mamba.py). The key
`ssm.time_step_rank` holds the number of heads.
"""

from __future__ import annotations

from dataclasses import dataclass

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Value
from zigai_core.ops.builder import GraphBuilder


@dataclass(frozen=True)
class Mamba2Shape:
    """The sizes of a mixer: the width within it, the numbers of heads, of groups of heads that share B and C,
    and of taps of the convolution, the size of a channel's state, and the epsilon of the norm."""

    inner: int
    heads: int
    groups: int
    state: int
    taps: int
    epsilon: float

    @classmethod
    def of(cls, hp: Hyperparameters) -> Mamba2Shape:
        """Returns the sizes from a file. Raises `FormatError` for a key that is missing or out of range."""
        inner = hp.integer("ssm.inner_size", minimum=1)
        heads = hp.integer("ssm.time_step_rank", minimum=1)
        groups = hp.integer("ssm.group_count", minimum=1)
        if inner % heads:
            raise hp.error(
                "ssm.time_step_rank", f"is {heads}, of which ssm.inner_size, {inner}, is no multiple"
            )
        if heads % groups:
            raise hp.error("ssm.group_count", f"is {groups}, by which {heads} heads cannot be shared out")
        return cls(
            inner=inner,
            heads=heads,
            groups=groups,
            state=hp.integer("ssm.state_size", minimum=1),
            taps=hp.integer("ssm.conv_kernel", minimum=2),
            epsilon=hp.number("attention.layer_norm_rms_epsilon", minimum=0.0),
        )


def mamba2_mixer(g: GraphBuilder, x: Value, at: str, shape: Mamba2Shape, *, last: bool) -> Value:
    """Appends a mixer: `[tokens, width]` to the same, or with `last` to `[wanted, width]`.

    One matrix computes the gate, the input of the convolution (x, B and C) and the step. The scan's output
    is gated and then normalised, each group of heads on its own.
    """
    inner, both = shape.inner, shape.groups * shape.state
    fused = g.linear(x, f"{at}.ssm_in", 2 * inner + 2 * both + shape.heads)
    z = g.columns(fused, 0, inner, name=f"{at}.ssm_z")
    xbc = g.columns(fused, inner, inner + 2 * both, name=f"{at}.ssm_xbc")
    step = g.columns(fused, 2 * inner + 2 * both, shape.heads, name=f"{at}.ssm_dt_in")
    xbc = convolved(g, xbc, at, shape.taps)
    y = g.selective_scan(
        g.columns(xbc, 0, inner, name=f"{at}.ssm_x"),
        softplus_step(g, g.column_shift(step, f"{at}.ssm_dt.bias", name=f"{at}.ssm_dt"), at),
        g.columns(xbc, inner, both, name=f"{at}.ssm_b"),
        g.columns(xbc, inner + both, both, name=f"{at}.ssm_c"),
        a=f"{at}.ssm_a",
        d=f"{at}.ssm_d",
        state=f"{at}.ssm",
        heads=shape.heads,
        groups=shape.groups,
        name=f"{at}.ssm_scan",
    )
    if last:
        z, y = g.select(z, name=f"{at}.ssm_z_wanted"), g.select(y, name=f"{at}.ssm_scan_wanted")
    y = g.gated_activation(z, y, name=f"{at}.ssm_gated")
    y = g.rms_norm(y, f"{at}.ssm_norm", shape.epsilon, groups=shape.groups)
    return g.linear(y, f"{at}.ssm_out", x.width)


def convolved(g: GraphBuilder, x: Value, at: str, taps: int) -> Value:
    """Appends the short convolution of a mixer and SiLU.

    Raises `ShapeError` for filters that do not have `taps`.
    """
    stored = g.shape(f"{at}.ssm_conv1d.weight")
    if stored[-1:] != (taps,):
        raise ShapeError(f"tensor {at}.ssm_conv1d.weight has shape {stored}, but ssm.conv_kernel is {taps}")
    x = g.short_conv(x, f"{at}.ssm_conv1d", state=f"{at}.ssm_conv")
    return g.unary(x, "silu", name=f"{at}.ssm_conv_act")


def softplus_step(g: GraphBuilder, x: Value, at: str) -> Value:
    """Appends the softplus that makes a scan's step Δ."""
    return g.unary(x, "softplus", name=f"{at}.ssm_step")
