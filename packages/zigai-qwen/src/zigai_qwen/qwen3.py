"""`qwen3`: Yang et al., 2025 (arXiv:2505.09388)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder


def qwen3(model: ModelDescriptor, *, context: int) -> Graph:
    """Like Qwen2 without biases; each head of queries and keys is normalised before it is turned.

    A head's width is the file's own (`attention.key_length`), not the model's width over its heads.
    """
    return decoder(model, context=context, qk_norm=True)
