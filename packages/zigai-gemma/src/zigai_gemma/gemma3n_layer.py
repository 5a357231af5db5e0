"""The parts of a layer of Gemma 3n: attention, the residual of low rank, and the feed-forward part."""

from __future__ import annotations

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Value
from zigai_core.ops.blocks import DecoderShape
from zigai_core.ops.builder import GraphBuilder
from zigai_gemma.gemma4_attention import attention

__all__ = ["attention", "feed_forward", "laurel"]


def laurel(g: GraphBuilder, x: Value, at: str, epsilon: float) -> Value:
    """Appends the residual of low rank: `x` and the norm of a product of two narrow matrices with it.

    Raises `ShapeError` for matrices that do not fit each other.
    """
    (rank, *_), (*_, given) = g.shape(f"{at}.laurel_l.weight"), g.shape(f"{at}.laurel_r.weight")
    if rank != given:
        raise ShapeError(f"{at}.laurel_l.weight has {rank} rows, but {at}.laurel_r.weight {given} columns")
    low = g.linear(g.linear(x, f"{at}.laurel_l", rank), f"{at}.laurel_r", x.width)
    return g.add(x, g.rms_norm(low, f"{at}.laurel_post_norm", epsilon), name=f"{at}.laurel")


def feed_forward(
    g: GraphBuilder, h: Value, x: Value, added: Value, at: str, shape: DecoderShape, cut: float | None
) -> Value:
    """Appends what follows attention: its output projection, both residuals, and the feed-forward part.

    `h`: the result of attention, `x` the layer's input, `added` the residual of low rank; `cut`: how many
    deviations above its mean the gate is cut. Of the shape of `x`.
    """
    h = g.rms_norm(g.linear(h, f"{at}.attn_output", shape.width), f"{at}.post_attention_norm", shape.epsilon)
    both = g.add(g.add(x, h, name=f"{at}.attn_residual"), added, name=f"{at}.attn_laurel")
    x = g.scale(both, 2.0**-0.5, name=f"{at}.attn_scaled")
    h = g.rms_norm(x, f"{at}.ffn_norm", shape.epsilon)
    gate, up = g.linear(h, f"{at}.ffn_gate", shape.hidden), g.linear(h, f"{at}.ffn_up", shape.hidden)
    if cut is not None:
        gate = g.gaussian_cut(gate, cut, name=f"{at}.ffn_gate_cut")
    h = g.gated_activation(gate, up, activation="gelu_tanh", name=f"{at}.ffn_act")
    h = g.rms_norm(g.linear(h, f"{at}.ffn_down", shape.width), f"{at}.post_ffw_norm", shape.epsilon)
    return g.add(x, h, name=f"{at}.ffn_residual")
