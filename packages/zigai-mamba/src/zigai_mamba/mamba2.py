"""`mamba2`: Mamba 2 and Mamba-Codestral (Dao and Gu, 2024, arXiv:2405.21060)."""

from __future__ import annotations

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_mamba.mixer import Mamba2Shape, mamba2_mixer
from zigai_mamba.stack import stack


def mamba2(model: ModelDescriptor, *, context: int) -> Graph:
    """Returns the graph: layers of Mamba 2, each with a norm before it. `context` changes nothing."""
    shape = Mamba2Shape.of(model.hyperparameters)
    return stack(model, lambda g, x, at, last: mamba2_mixer(g, x, at, shape, last=last))
