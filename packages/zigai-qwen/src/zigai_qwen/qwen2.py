"""`qwen2`: Qwen2 and Qwen2.5 (Yang et al., 2024, arXiv:2407.10671, arXiv:2412.15115)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder


def qwen2(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: a pre-norm decoder with biases on queries, keys and values.

    Biases are read from the file; without `output.weight` the output head is tied to the embedding.
    """
    return decoder(model, context=context)
