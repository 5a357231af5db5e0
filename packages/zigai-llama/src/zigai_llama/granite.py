"""`granite`: the dense models of Granite 3 and 4 (IBM, 2024, https://github.com/ibm-granite).

The scales are those of Power Scheduler, Shen et al., 2024 (arXiv:2408.13359, section 4).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.blocks import Block, DecoderShape, attention, gated, head
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies


def granite(model: ModelDescriptor, *, context: int, feed_forward: Block | None = None) -> Graph:
    """Returns the graph: the decoder of `llama` with scales of embedding, scores, residuals and logits.

    `embedding_scale`, `residual_scale` and `attention.scale` are factors, where 0 stands for none; logits are
    divided by `logit_scale`. No layer has RoPE if `rope.scaling.finetuned` is false. Keys and their meaning
    are llama.cpp's (src/models/granite.cpp). `feed_forward` replaces the gated feed-forward layer.
    """
    hp, shape = model.hyperparameters, DecoderShape.of(model.hyperparameters)
    g = GraphBuilder(model.tensors)
    residual = hp.number("residual_scale", 0.0, minimum=0.0) or 1.0
    divisor = hp.number("logit_scale", minimum=1e-6)
    has_rope = hp.flag("rope.scaling.finetuned", True)
    rope = rope_frequencies(g, hp, shape.head_dim, context=context) if has_rope else None

    def added(x: Value, y: Value, at: str) -> Value:
        return g.add(x, g.scale(y, residual, name=f"{at}_scaled"), name=f"{at}_residual")

    factor = hp.number("embedding_scale", 0.0, minimum=0.0) or 1.0
    x = g.scale(g.embedding("token_embd", shape.width), factor, name="embedding_scaled")
    for layer in range(shape.layers):
        at = f"blk.{layer}"
        h = g.rms_norm(x, f"{at}.attn_norm", shape.epsilon)
        scale = hp.number("attention.scale", 0.0, minimum=0.0) or None
        h = attention(g, h, layer, shape, rope, pairing=model.conventions.rope_pairing, scale=scale)
        if layer == shape.layers - 1:  # from here on only the output rows are computed
            h, x = g.select(h, name=f"{at}.attn_wanted"), g.select(x, name=f"{at}.wanted")
        x = added(x, g.linear(h, f"{at}.attn_output", shape.width), f"{at}.attn")
        h = g.rms_norm(x, f"{at}.ffn_norm", shape.epsilon)
        h = feed_forward(g, h, at) if feed_forward else gated(g, h, at, shape.hidden)
        x = added(x, h, f"{at}.ffn")
    head(g, g.rms_norm(x, "output_norm", shape.epsilon), scale=1 / divisor)
    return g.finish()
