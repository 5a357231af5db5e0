"""`glm4`: GLM-4-0414 and GLM-Z1, of 9B and 32B parameters.

Sources: llama.cpp (src/models/glm4.cpp) and transformers (models/glm4).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import DecoderShape, attention, head
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies
from zigai_glm.layers import fused_gate, without_layers_ahead


def glm4(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: norms before and after attention and the feed-forward layer.

    `ffn_up` holds the gate, too. Of a head, the first `rope.dimension_count` elements are rotated.
    """
    hp = model.hyperparameters
    g = GraphBuilder(model.tensors)
    shape = without_layers_ahead(g, hp, DecoderShape.of(hp))
    rope = rope_frequencies(g, hp, shape.head_dim, context=context)
    x = g.embedding("token_embd", shape.width)
    for layer in range(shape.layers):
        at = f"blk.{layer}"
        h = g.rms_norm(x, f"{at}.attn_norm", shape.epsilon)
        h = attention(g, h, layer, shape, rope, pairing=model.conventions.rope_pairing)
        if layer == shape.layers - 1:  # from here on only the output rows are computed
            h, x = g.select(h, name=f"{at}.attn_wanted"), g.select(x, name=f"{at}.wanted")
        h = g.linear(h, f"{at}.attn_output", shape.width)
        h = g.rms_norm(h, f"{at}.post_attention_norm", shape.epsilon)
        x = g.add(x, h, name=f"{at}.attn_residual")
        h = fused_gate(g, g.rms_norm(x, f"{at}.ffn_norm", shape.epsilon), at, shape.hidden)
        h = g.rms_norm(h, f"{at}.post_ffw_norm", shape.epsilon)
        x = g.add(x, h, name=f"{at}.ffn_residual")
    head(g, g.rms_norm(x, "output_norm", shape.epsilon))
    return g.finish()
