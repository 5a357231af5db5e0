"""Slopes for attention with linear biases (ALiBi: Press et al., 2022, arXiv:2108.12409)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def alibi_slopes(heads: int, max_bias: float = 8.0) -> NDArray[np.float32]:
    """Returns the slope of each head, float32 `[heads]`, for `Attention.slopes`.

    If the number of heads n is a power of two, head i has the slope `2^(-max_bias · (i + 1) / n)`. Otherwise,
    with n the largest power of two below it, the first n heads have these slopes, and the others have the
    1st, 3rd, 5th, … slope for 2n heads, as in the authors' code. `max_bias` is 8 in the paper; its key in
    GGUF is `attention.max_alibi_bias`.

    >>> alibi_slopes(4).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625]
    """
    first = 1 << max(0, heads.bit_length() - 1)
    own = -max_bias / first * np.arange(1, first + 1)
    between = -max_bias / (2 * first) * np.arange(1, 2 * first, 2)
    slopes: NDArray[np.float32] = np.exp2(np.concatenate([own, between])[:heads]).astype(np.float32)
    return slopes
