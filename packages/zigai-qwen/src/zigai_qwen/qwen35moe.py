"""`qwen35moe`: the texts of Qwen3.5's mixtures of experts (huggingface.co/Qwen/Qwen3.5-35B-A3B)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import experts
from zigai_qwen.hybrid import hybrid
from zigai_qwen.sections import check_sections


def qwen35moe(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: that of `qwen35` with a mixture of experts, and a shared one, in every layer.

    The shares of the chosen experts are rescaled to a sum of one.
    """
    check_sections(model.hyperparameters)
    mixture = experts(model.hyperparameters, renormalise=True, shared=True)
    return hybrid(model, context=context, order="tiled", feed_forward=mixture)
