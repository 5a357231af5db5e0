"""The sliding window: which layers have it, and RoPE of those with it and without."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import quote
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import RopeFrequencies, rope_frequencies

PATTERN = "attention.sliding_window_pattern"

LEAST_BASE = 1.001
"""Lower limit of RoPE's bases, that of `rope_frequencies`."""


def has_window(hp: Hyperparameters, layers: int, period: int) -> Sequence[bool]:
    """Returns whether each layer has the sliding window.

    `attention.sliding_window_pattern` holds a flag for each layer, or a number n: then every n-th layer has
    none (0: all have it). It defaults to `period`. Raises `FormatError` for flags that are none, or too few.
    """
    given = hp.get(PATTERN)
    if not isinstance(given, (list, tuple, np.ndarray)):
        period = hp.integer(PATTERN, period)
        return [period == 0 or (number + 1) % period != 0 for number in range(layers)]
    flags = list(given)
    numbers = all(isinstance(flag, (bool, int, np.bool_, np.integer)) for flag in flags)
    if len(flags) != layers or not numbers or any(flag not in (0, 1) for flag in flags):
        raise hp.error(PATTERN, f"is {quote(flags)}, but must hold true or false for {layers} layers")
    return [bool(flag) for flag in flags]


def two_ropes(
    g: GraphBuilder, hp: Hyperparameters, head_dim: int, *, context: int
) -> tuple[RopeFrequencies, RopeFrequencies]:
    """Returns RoPE's frequencies of full layers, and of those with a window, which no scaling is for.

    Raises `FormatError` without `rope.freq_base`, as no default fits all files.
    """
    hp.number("rope.freq_base", minimum=LEAST_BASE)
    base = hp.number("rope.freq_base_swa", 0.0, minimum=0.0) or 10000.0  # as in llama.cpp
    if base < LEAST_BASE:
        raise hp.error("rope.freq_base_swa", f"is {base}, but must be {LEAST_BASE} or more, or 0 for 10000")
    local = hp.replaced(rope__freq_base=base, rope__scaling__type="none")
    full = rope_frequencies(g, hp, head_dim, context=context)
    return full, rope_frequencies(g, local, head_dim, context=context)
