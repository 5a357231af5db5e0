"""`qwen35`: the texts of the dense models of Qwen3.5 (huggingface.co/Qwen/Qwen3.5-9B)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_qwen.hybrid import hybrid
from zigai_qwen.sections import check_sections


def qwen35(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: gated delta nets, gated attention and dense feed-forward layers.

    Value heads of one key head are `ssm.group_count` apart.
    """
    check_sections(model.hyperparameters)
    return hybrid(model, context=context, order="tiled")
