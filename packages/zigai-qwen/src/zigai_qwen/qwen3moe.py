"""`qwen3moe`: Qwen3-30B-A3B and Qwen3-235B-A22B (Yang et al., 2025, arXiv:2505.09388)."""

from __future__ import annotations

from zigai_core.blocks import decoder, experts
from zigai_core.descriptor import ModelDescriptor
from zigai_core.graph import Graph


def qwen3moe(model: ModelDescriptor, *, context: int) -> Graph:
    """Qwen3 with experts, whose shares are scaled to a sum of one; no shared expert."""
    block = experts(model.hyperparameters, renormalise=True)
    return decoder(model, context=context, pairing="half", qk_norm=True, feed_forward=block)
