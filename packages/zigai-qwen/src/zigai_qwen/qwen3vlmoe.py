"""`qwen3vlmoe`: the texts of Qwen3-VL's mixtures of experts (Bai et al., 2025, arXiv:2511.21631)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder, experts
from zigai_qwen.sections import check_deepstack, check_sections


def qwen3vlmoe(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: that of `qwen3moe`, with norms of query and key heads and a mixture of experts.

    Pairs of a head rotate as in RoPE, since a text has one position in all sections of M-RoPE.
    Embeddings may stand in place of tokens: see `qwen3vl`.
    """
    hp = model.hyperparameters
    check_sections(hp)
    check_deepstack(hp)
    mixture = experts(hp, renormalise=True)
    return decoder(model, context=context, qk_norm=True, feed_forward=mixture, inputs=True)
