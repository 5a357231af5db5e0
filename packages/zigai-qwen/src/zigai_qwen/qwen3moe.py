"""`qwen3moe`: Qwen3-30B-A3B and Qwen3-235B-A22B (Yang et al., 2025, arXiv:2505.09388)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder, experts


def qwen3moe(model: ModelDescriptor, *, context: int) -> Graph:
    """Qwen3 with experts, whose shares are scaled to a sum of one; no shared expert."""
    block = experts(model.hyperparameters, renormalise=True)
    return decoder(model, context=context, qk_norm=True, feed_forward=block)
