"""`granitemoe`: the mixtures of experts of Granite 3 and 4 (IBM, 2024, https://github.com/ibm-granite)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.blocks import experts, gated
from zigai_core.ops.builder import GraphBuilder
from zigai_llama.granite import granite

SHARED = "expert_shared_feed_forward_length"


def granitemoe(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: that of `granite` with experts, whose shares are the softmax over the chosen ones.

    With `expert_shared_feed_forward_length`, the result of a shared expert is added, without a gate
    (llama.cpp, src/models/granite.cpp; transformers, models/granitemoeshared). Raises `FormatError` for a
    file with the tensors of one, but without the key.
    """
    hp = model.hyperparameters
    mixture = experts(hp, renormalise=True)
    own = hp.integer(SHARED, 0)

    def feed_forward(g: GraphBuilder, x: Value, at: str) -> Value:
        y, gate = mixture(g, x, at), f"{at}.ffn_gate_shexp.weight"
        if own:
            return g.add(y, gated(g, x, at, own, part="_shexp"), name=f"{at}.ffn_out")
        if g.has(gate):
            raise hp.error(SHARED, f"is missing, but the file has the tensor {gate}")
        return y

    return granite(model, context=context, feed_forward=feed_forward)
