"""What the members share: sizes with the epsilon of layer norms, and a layer of two parallel blocks.

Source: transformers (models/cohere, models/cohere2) and llama.cpp (src/models/command-r.cpp, cohere2.cpp).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import Hyperparameters, Pairing
from zigai_core.contracts.graph import Value
from zigai_core.ops.blocks import DecoderShape, attention, gated, head
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import RopeFrequencies


def shape_of(hp: Hyperparameters) -> DecoderShape:
    """Returns the sizes, with the epsilon of layer norms. Raises `FormatError` as `DecoderShape.of`."""
    epsilon = hp.number("attention.layer_norm_epsilon", minimum=0.0)
    return DecoderShape.of(hp.replaced(attention__layer_norm_rms_epsilon=epsilon))


def parallel_layer(
    g: GraphBuilder,
    x: Value,
    layer: int,
    shape: DecoderShape,
    rope: RopeFrequencies | None,
    *,
    pairing: Pairing,
    window: int | None = None,
) -> Value:
    """Appends a layer whose attention and feed-forward layer both read the one norm of `x`.

    `[tokens, width]` to the same shape, or in the last layer to `[wanted, width]`. With `rope` None it has no
    RoPE; `window` is that of `GraphBuilder.attention`.
    """
    at = f"blk.{layer}"
    normed = g.layer_norm(x, f"{at}.attn_norm", shape.epsilon)
    h = attention(g, normed, layer, shape, rope, pairing=pairing, window=window)
    if layer == shape.layers - 1:  # from here on only the output rows are computed
        h, x = g.select(h, name=f"{at}.attn_wanted"), g.select(x, name=f"{at}.wanted")
        normed = g.select(normed, name=f"{at}.norm_wanted")
    x = g.add(x, g.linear(h, f"{at}.attn_output", shape.width), name=f"{at}.attn_residual")
    return g.add(x, gated(g, normed, at, shape.hidden), name=f"{at}.ffn_residual")


def logits(g: GraphBuilder, x: Value, shape: DecoderShape, scale: float) -> None:
    """Appends the last norm and the head, whose logits are multiplied by `scale`; 0 stands for no scale."""
    head(g, g.layer_norm(x, "output_norm", shape.epsilon), scale=scale or 1.0)
