"""`qwen3next`: Qwen3-Next-80B-A3B (huggingface.co/Qwen/Qwen3-Next-80B-A3B-Instruct)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import experts
from zigai_qwen.hybrid import hybrid


def qwen3next(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: gated delta nets and gated attention, with a mixture of experts in every layer.

    Value heads of one key head are next to each other. The shares of the chosen experts are rescaled to a sum
    of one; a shared expert is behind a sigmoid gate.
    """
    mixture = experts(model.hyperparameters, renormalise=True, shared=True)
    return hybrid(model, context=context, order="grouped", fused=True, feed_forward=mixture)
