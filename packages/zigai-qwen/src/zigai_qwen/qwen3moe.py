"""`qwen3moe`: Qwen3-30B-A3B and Qwen3-235B-A22B (Yang et al., 2025, arXiv:2505.09388)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder, experts


def qwen3moe(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: Qwen3 with a mixture of experts, without a shared expert.

    The shares of the chosen experts are rescaled to a sum of one.
    """
    mixture = experts(model.hyperparameters, renormalise=True)
    return decoder(model, context=context, qk_norm=True, feed_forward=mixture)
