"""`qwen`: the first generation of Qwen (Bai et al., 2023, arXiv:2309.16609)."""

from __future__ import annotations

import dataclasses

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder


def qwen(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: a pre-norm decoder whose queries, keys and values come from one matrix (`attn_qkv`).

    `feed_forward_length` is the width of the gate and up projections together, so each has half of it.
    """
    hp = model.hyperparameters
    halved = hp.replaced(feed_forward_length=hp.integer("feed_forward_length", minimum=2) // 2)
    return decoder(dataclasses.replace(model, hyperparameters=halved), context=context)
