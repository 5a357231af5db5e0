"""The sections of M-RoPE, and other hyperparameters that matter for images alone."""

from __future__ import annotations

import numpy as np

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import quote

SECTIONS = "rope.dimension_sections"
DEEPSTACK = "n_deepstack_layers"


def check_sections(hp: Hyperparameters) -> None:
    """Reads the numbers of pairs that rotate by time, height and width (arXiv:2409.12191, section 2.1).

    All three positions of a token of text are the same, so that a pair rotates as in RoPE, whatever its
    section. Raises `FormatError` for what is not up to four whole numbers.
    """
    given = hp.get(SECTIONS)
    if given is None:
        return
    entries = [*given] if isinstance(given, (list, tuple, np.ndarray)) else [given]
    whole = all(type(each) is int or isinstance(each, np.integer) for each in entries)
    if not 1 <= len(entries) <= 4 or not whole or any(not 0 <= each < 65536 for each in entries):
        raise hp.error(SECTIONS, f"is {quote(given)}, but must hold up to four numbers of pairs")


def check_deepstack(hp: Hyperparameters, layers: int) -> None:
    """Reads the number of layers to which features of images are added (arXiv:2406.04334): none for texts.

    Raises `FormatError` for more than the model has.
    """
    hp.integer(DEEPSTACK, 0, maximum=layers)
