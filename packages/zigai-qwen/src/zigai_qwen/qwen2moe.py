"""`qwen2moe`: Qwen1.5-MoE and Qwen2-57B-A14B (Yang et al., 2024, arXiv:2407.10671)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder, experts


def qwen2moe(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: Qwen2 with a mixture of experts and a shared expert behind a sigmoid gate.

    The shares of the chosen experts are not rescaled to a sum of one.
    """
    mixture = experts(model.hyperparameters, renormalise=False, shared=True)
    return decoder(model, context=context, feed_forward=mixture)
