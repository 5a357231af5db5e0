"""A decoder whose norms stand after attention and the feed-forward layer, before the residual's sum.

Source: OLMo 2, 2025 (arXiv:2501.00656, section 2.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import DecoderShape, QKNorm, attention, gated, head
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import RopeFrequencies


@dataclass(frozen=True)
class Positions:
    """How a layer's attention sees positions: RoPE, None for none, and the window in tokens, None for all."""

    rope: RopeFrequencies | None
    window: int | None


def norms_after(
    g: GraphBuilder,
    model: ModelDescriptor,
    shape: DecoderShape,
    layers: Sequence[Positions],
    *,
    qk_norm: QKNorm,
) -> Graph:
    """Appends the decoder, with an entry of `layers` for each layer, and returns the graph.

    `qk_norm`: see `zigai_core.ops.blocks.attention`.
    """
    pairing = model.conventions.rope_pairing
    x = g.embedding("token_embd", shape.width)
    for layer, own in enumerate(layers):
        at = f"blk.{layer}"
        h = attention(g, x, layer, shape, own.rope, pairing=pairing, window=own.window, qk_norm=qk_norm)
        if layer == shape.layers - 1:  # from here on only the output rows are computed
            h, x = g.select(h, name=f"{at}.attn_wanted"), g.select(x, name=f"{at}.wanted")
        h = g.linear(h, f"{at}.attn_output", shape.width)
        h = g.rms_norm(h, f"{at}.post_attention_norm", shape.epsilon)
        x = g.add(x, h, name=f"{at}.attn_residual")
        h = g.rms_norm(gated(g, x, at, shape.hidden), f"{at}.post_ffw_norm", shape.epsilon)
        x = g.add(x, h, name=f"{at}.ffn_residual")
    head(g, g.rms_norm(x, "output_norm", shape.epsilon))
    return g.finish()
