"""`phi3`: Phi-3, Phi-3.5, Phi-4 and Phi-4-mini.

Sources: Phi-3, Abdin et al., 2024 (arXiv:2404.14219); Phi-4, Abdin et al., 2024 (arXiv:2412.08905);
Phi-4-mini, Microsoft, 2025 (arXiv:2503.01743); names and the order within fused matrices, llama.cpp
(src/models/phi3.cpp) and transformers (models/phi3).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.blocks import decoder
from zigai_core.ops.builder import GraphBuilder


def phi3(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: a pre-norm decoder whose `attn_qkv` and `ffn_up` are fused matrices.

    `attention.sliding_window` restricts attention to that many positions in all layers; 0, which files of
    Phi-4 have, is none. `context` above `rope.scaling.original_context_length` takes LongRoPE's long
    factors, any other the short ones. Of a head, the first `rope.dimension_count` elements are rotated
    (Phi-4-mini).
    """
    hp = model.hyperparameters
    hidden = hp.integer("feed_forward_length", minimum=1)

    def feed_forward(g: GraphBuilder, x: Value, at: str) -> Value:
        both = g.linear(x, f"{at}.ffn_up", 2 * hidden, name=f"{at}.ffn_gate_up")  # the rows of the gate first
        gate = g.columns(both, 0, hidden, name=f"{at}.ffn_gate")
        up = g.columns(both, hidden, hidden, name=f"{at}.ffn_up")
        h = g.gated_activation(gate, up, activation="silu", name=f"{at}.ffn_act")
        return g.linear(h, f"{at}.ffn_down", x.width)

    window = hp.integer("attention.sliding_window", 0) or None
    return decoder(model, context=context, window=window, feed_forward=feed_forward)
