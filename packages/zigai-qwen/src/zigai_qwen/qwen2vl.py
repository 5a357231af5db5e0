"""`qwen2vl`: the texts of Qwen2-VL and Qwen2.5-VL.

Source: Wang et al., 2024, arXiv:2409.12191; Bai et al., 2025, arXiv:2502.13923.
"""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder
from zigai_qwen.sections import check_sections


def qwen2vl(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: that of `qwen2`, with biases on queries, keys and values.

    Pairs of a head rotate as in RoPE, since a text has one position in all sections of M-RoPE.
    Embeddings may stand in place of tokens; those of images have other positions in each section.
    """
    check_sections(model.hyperparameters)
    return decoder(model, context=context, inputs=True)
