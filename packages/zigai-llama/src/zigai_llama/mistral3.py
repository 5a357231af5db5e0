"""`mistral3`: Ministral 3 (Mistral AI, 2025), and Mistral Small 3.1 and 3.2 in new files.

The temperature of attention is Llama 4's (Nakanishi, 2025, arXiv:2501.19399; Meta AI, 2025).
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.blocks import decoder
from zigai_core.ops.builder import GraphBuilder


def mistral3(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: the decoder of `llama`, with queries that grow with their position.

    With `attention.temperature_scale` f and `rope.scaling.original_context_length` n, the query at position p
    is multiplied by 1 + f ln(1 + ⌊p / n⌋), after RoPE (llama.cpp, src/models/mistral3.cpp).
    Embeddings may stand in place of tokens.
    """
    hp = model.hyperparameters
    factor = hp.number("attention.temperature_scale", 0.0, minimum=0.0, maximum=1e6)
    if not factor:
        return decoder(model, context=context, inputs=True)
    length = hp.integer("rope.scaling.original_context_length", hp.get("context_length"), minimum=1)

    def query(g: GraphBuilder, q: Value, at: str) -> Value:
        return g.position_scale(q, length=length, factor=factor, name=f"{at}.attn_q_scaled")

    return decoder(model, context=context, query=query, inputs=True)
