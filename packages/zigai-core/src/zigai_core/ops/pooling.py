"""The pooling that a file asks for."""

from __future__ import annotations

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.pooling import PoolKind

_KINDS: dict[int, PoolKind | None] = {-1: None, 0: None, 1: "mean", 2: "cls", 3: "last"}


def pooling_kind(hp: Hyperparameters) -> PoolKind | None:
    """Returns the kind that `pooling_type` names; None if each token keeps its state.

    Raises `UnsupportedError` for another kind. Source: llama.cpp (include/llama.h, `llama_pooling_type`).
    """
    number = hp.integer("pooling_type", 0, minimum=-1)
    if number not in _KINDS:
        raise hp.unsupported("pooling_type", f"is {number}; supported are {', '.join(map(str, _KINDS))}")
    return _KINDS[number]
