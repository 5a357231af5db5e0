"""`chatglm`: ChatGLM2 and 3, GLM-4-9B, GLM-Edge (GLM Team, 2024, arXiv:2406.12793).

Sources: llama.cpp (src/models/chatglm.cpp) and transformers (models/glm).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.blocks import decoder
from zigai_core.ops.builder import GraphBuilder
from zigai_glm.layers import fused_gate


def chatglm(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: a pre-norm decoder whose `ffn_up` holds the gate, too; half a head is rotated."""
    hidden = model.hyperparameters.integer("feed_forward_length", minimum=1)

    def feed_forward(g: GraphBuilder, x: Value, at: str) -> Value:
        return fused_gate(g, x, at, hidden)

    return decoder(model, context=context, feed_forward=feed_forward)
