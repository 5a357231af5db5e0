"""RoPE of a share of each head's pairs, whose frequencies are those of the whole head.

Source: transformers, modeling_rope_utils, `_compute_proportional_rope_parameters`. The pairs that are not
rotated lie between rotated ones, as pairs are half a head apart. GGUF's form of it is that of llama.cpp
(conversion/gemma.py): divisors of the frequencies, which are so large for the other pairs that these do not
turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.contracts.errors import FormatError, quote

KIND = "proportional"

STILL = 1e30
"""Divisor of the frequency of a pair that does not turn."""


def divisors(
    at: str, given: Mapping[str, Any], values: Mapping[str, Any], path: Path
) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Returns the divisors of the frequencies of `given`, RoPE's settings, by the name of their tensor.

    `values`: the hyperparameters, whose `attention.key_length` is the width of a head. Raises `FormatError`
    for a share that is none.
    """
    share = given.get("partial_rotary_factor", 1.0)
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
        raise FormatError(
            f"{path}: {at}.partial_rotary_factor is {quote(share)}, but must be a number above 0, at most 1"
        )
    width = values.get("attention.key_length")
    if type(width) is not int or not 2 <= width <= 65536 or width % 2:
        raise FormatError(
            f"{path}: a head of {quote(width)} elements has no pairs for RoPE; it must be even, 2 to 65536"
        )
    rotated = int(share * width // 2)
    found = np.full(width // 2, STILL, np.float32)
    found[:rotated] = 1
    return {"rope_freqs.weight": found}
