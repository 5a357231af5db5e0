"""Which layers have a sliding window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import quote

PATTERN = "attention.sliding_window_pattern"


def windowed_layers(
    hp: Hyperparameters, layers: int, period: int, *, full_first: bool = False
) -> Sequence[bool]:
    """Returns whether each layer has the sliding window.

    `attention.sliding_window_pattern` holds a flag for each layer, or a number n: then one of n layers has
    none, the last of them, or with `full_first` the first (0: all have it). It defaults to `period`. Raises
    `FormatError` for flags that are none, or too few.
    Source: llama.cpp (src/llama-hparams.cpp, `set_swa_pattern`).
    """
    given = hp.get(PATTERN)
    if not isinstance(given, (list, tuple, np.ndarray)):
        period = hp.integer(PATTERN, period)
        return [period == 0 or (number + (not full_first)) % period != 0 for number in range(layers)]
    flags = list(given)
    numbers = all(isinstance(flag, (bool, int, np.bool_, np.integer)) for flag in flags)
    if len(flags) != layers or not numbers or any(flag not in (0, 1) for flag in flags):
        raise hp.error(PATTERN, f"is {quote(flags)}, but must hold true or false for {layers} layers")
    return [bool(flag) for flag in flags]
