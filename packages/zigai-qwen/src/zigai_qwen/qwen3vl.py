"""`qwen3vl`: the texts of the dense models of Qwen3-VL (Bai et al., 2025, arXiv:2511.21631)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder
from zigai_qwen.sections import check_deepstack, check_sections


def qwen3vl(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: that of `qwen3`, with norms of query and key heads.

    Pairs of a head rotate as in RoPE, since a text has one position in all sections of M-RoPE.
    Embeddings may stand in place of tokens; those of images have other positions in each section, and more
    rows that the first layers add (DeepStack).
    """
    hp = model.hyperparameters
    check_sections(hp)
    check_deepstack(hp)
    return decoder(model, context=context, qk_norm=True, inputs=True)
