"""How many deviations above the mean the gate of each of Gemma 3n's layers is cut."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import quote

SPARSITY = "activation_sparsity_scale"

_USUAL = 1.6448533535
"""The factor of layers of which a share of 0.95 is cut, in files that do not say: llama.cpp."""


def sparsity(hp: Hyperparameters, layers: int) -> Sequence[float | None]:
    """Returns the factor of each layer; None for one whose gate is not cut, for which files have -inf.

    Files without it have it in the first ten layers (llama.cpp). Raises `FormatError` for what is no number
    for each layer.
    """
    given = hp.get(SPARSITY)
    if given is None:
        return [_USUAL if number < 10 else None for number in range(layers)]
    values = list(given) if isinstance(given, (list, tuple, np.ndarray)) else [given] * layers
    if len(values) != layers or not all(map(_is_factor, values)):
        raise hp.error(SPARSITY, f"is {quote(values)}, but must hold a number for each of {layers} layers")
    return [float(each) if math.isfinite(each) else None for each in values]


def _is_factor(value: object) -> bool:
    """True for -inf, and for a number that float32 holds."""
    if isinstance(value, bool) or not isinstance(value, (float, int, np.floating, np.integer)):
        return False
    limit = float(np.finfo(np.float32).max)
    return bool(value == -math.inf or -limit <= value <= limit)
