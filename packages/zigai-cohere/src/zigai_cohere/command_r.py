"""`command-r`: Command R and Aya (Cohere, 2024; Üstün et al., 2024, arXiv:2405.15032)."""

from __future__ import annotations

from zigai_cohere.layers import logits, parallel_layer, shape_of
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import rope_frequencies


def command_r(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: layer norms without biases, parallel blocks, RoPE, and logits times `logit_scale`.

    Raises `UnsupportedError` for Command R+, whose queries and keys have a layer norm in each head.
    """
    hp, shape = model.hyperparameters, shape_of(model.hyperparameters)
    g = GraphBuilder(model.tensors)
    norms = [name for name in ("blk.0.attn_q_norm.weight", "blk.0.attn_k_norm.weight") if g.has(name)]
    if norms:
        raise UnsupportedError(
            f"{norms[0]}: layer norms of heads, as in Command R+, are not supported; take Command R"
        )
    rope = rope_frequencies(g, hp, shape.head_dim, context=context)
    x = g.embedding("token_embd", shape.width)
    for layer in range(shape.layers):
        x = parallel_layer(g, x, layer, shape, rope, pairing=model.conventions.rope_pairing)
    logits(g, x, shape, hp.number("logit_scale", 0.0, minimum=0.0))
    return g.finish()
