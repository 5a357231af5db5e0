"""`qwen2`: Qwen2 and Qwen2.5 (Yang et al., 2024, arXiv:2407.10671, arXiv:2412.15115)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder


def qwen2(model: ModelDescriptor, *, context: int) -> Graph:
    """Queries, keys and values have biases; the head may be tied."""
    return decoder(model, context=context)
