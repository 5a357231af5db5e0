"""RoPE of layers with a sliding window and of those without."""

from __future__ import annotations

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import RopeFrequencies, rope_frequencies

LEAST_BASE = 1.001
"""Lower limit of RoPE's bases, that of `rope_frequencies`."""


def two_ropes(
    g: GraphBuilder, hp: Hyperparameters, head_dim: int, *, context: int
) -> tuple[RopeFrequencies, RopeFrequencies]:
    """Returns RoPE's frequencies of full layers, and of those with a window, which no scaling is for.

    Raises `FormatError` without `rope.freq_base`, as no default fits all files.
    """
    need_base(hp)
    local = hp.replaced(rope__freq_base=local_base(hp), rope__scaling__type="none")
    full = rope_frequencies(g, hp, head_dim, context=context)
    return full, rope_frequencies(g, local, head_dim, context=context)


def need_base(hp: Hyperparameters) -> None:
    """Raises `FormatError` without `rope.freq_base`, or for one that is too small."""
    hp.number("rope.freq_base", minimum=LEAST_BASE)


def local_base(hp: Hyperparameters) -> float:
    """Returns RoPE's base of layers with a window, `rope.freq_base_swa`, 10000 without it or for 0.

    Raises `FormatError` for one that is too small.
    """
    base = hp.number("rope.freq_base_swa", 0.0, minimum=0.0) or 10000.0  # as in llama.cpp
    if base < LEAST_BASE:
        raise hp.error("rope.freq_base_swa", f"is {base}, but must be {LEAST_BASE} or more, or 0 for 10000")
    return base
