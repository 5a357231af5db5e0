"""The gated delta net, which Qwen3-Next and Qwen3.5 have in most layers in place of attention."""

from __future__ import annotations

from dataclasses import dataclass

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import ShapeError, UnsupportedError
from zigai_core.contracts.graph import Value
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import HeadOrder

L2_EPSILON = 1e-6
"""Added to the sum of squares of a head's query and key: transformers, modeling_qwen3_next.py, `l2norm`."""


@dataclass(frozen=True)
class DeltaNetShape:
    """The sizes of a gated delta net: numbers of heads of values and of keys, and their widths."""

    heads: int
    key_heads: int
    key_dim: int
    value_dim: int
    taps: int
    """Tokens that the convolution reads."""

    @property
    def keys(self) -> int:
        """The width of all keys, and of all queries."""
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        """The width of all values."""
        return self.heads * self.value_dim

    @classmethod
    def of(cls, hp: Hyperparameters) -> DeltaNetShape:
        """Returns the sizes from a file. Raises `FormatError` for a key that is missing or out of range."""
        heads = hp.integer("ssm.time_step_rank", minimum=1)
        key_heads = hp.integer("ssm.group_count", minimum=1)
        values = hp.integer("ssm.inner_size", minimum=1)
        if heads % key_heads:
            raise hp.error(
                "ssm.time_step_rank", f"is {heads}, not a multiple of ssm.group_count, {key_heads}"
            )
        if values % heads:
            raise hp.error("ssm.inner_size", f"is {values}, not a multiple of ssm.time_step_rank, {heads}")
        key_dim = hp.integer("ssm.state_size", minimum=1)
        taps = hp.integer("ssm.conv_kernel", minimum=2)
        return cls(heads, key_heads, key_dim, values // heads, taps)


def delta_net(
    g: GraphBuilder, x: Value, at: str, shape: DeltaNetShape, order: HeadOrder, *, fused: bool
) -> Value:
    """Appends the gated delta rule of `x`, without the norm and the gate that follow it.

    `[tokens, width]` to `[tokens, values]`. A short convolution with SiLU goes over queries, keys and values;
    each head's query and key has a length of 1 (Yang et al., 2024, arXiv:2412.06464; transformers,
    modeling_qwen3_next.py, `Qwen3NextGatedDeltaNet`). `order` is that of the value heads. With `fused`, one
    matrix computes the step sizes beta and alpha, of which the decay follows, for the value heads of one key
    head after the other (llama.cpp, src/models/qwen3next.cpp).
    """
    if g.has(f"{at}.ssm_in.weight"):
        raise UnsupportedError(
            f"tensor {at}.ssm_in.weight, of the first files of Qwen3-Next, is not supported; take one that "
            f"has {at}.attn_qkv.weight in its place, or convert the model again"
        )
    channels, filters = 2 * shape.keys + shape.values, f"{at}.ssm_conv1d.weight"
    if g.shape(filters)[-1:] != (shape.taps,):
        raise ShapeError(f"tensor {filters} has shape {g.shape(filters)}; ssm.conv_kernel is {shape.taps}")
    mixed = g.short_conv(
        g.linear(x, f"{at}.attn_qkv", channels), f"{at}.ssm_conv1d", state=f"{at}.ssm_conv1d"
    )
    mixed = g.unary(mixed, "silu", name=f"{at}.ssm_conv1d_act")
    q = g.columns(mixed, 0, shape.keys, name=f"{at}.ssm_q")
    k = g.columns(mixed, shape.keys, shape.keys, name=f"{at}.ssm_k")
    v = g.columns(mixed, 2 * shape.keys, shape.values, name=f"{at}.ssm_v")
    beta, alpha = _steps(g, x, at, shape, fused=fused)
    alpha = g.unary(
        g.column_shift(alpha, f"{at}.ssm_dt.bias", name=f"{at}.ssm_dt"), "softplus", name=f"{at}.ssm_dt_act"
    )
    return g.gated_delta(
        g.l2_norm(q, L2_EPSILON, group=shape.key_dim, name=f"{at}.ssm_q_norm"),
        g.l2_norm(k, L2_EPSILON, group=shape.key_dim, name=f"{at}.ssm_k_norm"),
        v,
        g.column_scale(alpha, f"{at}.ssm_a", name=f"{at}.ssm_decay"),
        g.unary(beta, "sigmoid", name=f"{at}.ssm_beta_act"),
        state=f"{at}.ssm",
        heads=shape.heads,
        key_heads=shape.key_heads,
        scale=shape.key_dim**-0.5,
        order=order,
        name=f"{at}.delta_net",
    )


def _steps(g: GraphBuilder, x: Value, at: str, shape: DeltaNetShape, *, fused: bool) -> tuple[Value, Value]:
    """Appends beta and alpha, before their functions, each `[tokens, heads]`."""
    if not fused:
        return g.linear(x, f"{at}.ssm_beta", shape.heads), g.linear(x, f"{at}.ssm_alpha", shape.heads)
    both, share = g.linear(x, f"{at}.ssm_ba", 2 * shape.heads), shape.heads // shape.key_heads
    beta = g.columns(both, 0, share, groups=shape.key_heads, name=f"{at}.ssm_beta")
    return beta, g.columns(both, share, share, groups=shape.key_heads, name=f"{at}.ssm_alpha")
