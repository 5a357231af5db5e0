"""`qwen3`: the dense models of Qwen3 (Yang et al., 2025, arXiv:2505.09388)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder


def qwen3(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: a pre-norm decoder with RMSNorm on each query and key head before RoPE.

    The width of a head is `attention.key_length`, independent of `embedding_length` / `attention.head_count`.
    """
    return decoder(model, context=context, qk_norm=True)
