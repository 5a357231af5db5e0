"""Checks prompts: text, or token ids."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import TokenizerError

Prompt = str | Sequence[int] | NDArray[np.integer[Any]]
"""Text, or token ids: a sequence of whole numbers or a one-dimensional integer array."""


def are_several(given: object) -> bool:
    """True for a list of prompts, an empty one too; False for a single prompt, such as a list of ids."""
    if not isinstance(given, (list, tuple)):
        return False
    return not given or any(isinstance(one, (str, list, tuple, np.ndarray)) for one in given)


def token_ids(given: object, *, what: str = "a prompt") -> list[int]:
    """Converts token ids to a list of int. `what` names them in errors.

    Raises `TokenizerError` for anything but a sequence of whole numbers or a one-dimensional integer array:
    bytes, a string, a sequence with strings, fractions or booleans. Ids are not compared with a vocabulary.
    """
    if isinstance(given, (bytes, bytearray, memoryview)):
        raise TokenizerError(
            f"{what} must be text or token ids, not {type(given).__name__}: decode it first, with "
            ".decode('utf-8')"
        )
    if isinstance(given, np.ndarray):
        if given.ndim != 1 or (given.dtype.kind not in "iu" and given.size):
            raise TokenizerError(
                f"{what} as an array must hold whole numbers in one dimension, not {given.dtype} of shape "
                f"{given.shape}"
            )
        return [int(token) for token in given]
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise TokenizerError(f"{what} must be text or a sequence of token ids, not {type(given).__name__}")
    for place, token in enumerate(given):
        if isinstance(token, (bool, np.bool_)) or not isinstance(token, Integral):
            raise TokenizerError(
                f"{what} that is not text must hold whole numbers; at index {place} it has a "
                f"{type(token).__name__}"
            )
    return [int(token) for token in given]
