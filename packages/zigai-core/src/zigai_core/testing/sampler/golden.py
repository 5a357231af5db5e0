"""What the probabilities after a step must be: known rows, and a definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import SamplingOptions

Definition = Callable[[Array, SamplingOptions, Sequence[int]], NDArray[np.float64]]
"""`(logits, options, history) -> probabilities`: what a step makes of a row, computed in another way.

`logits` are float32 `[vocabulary]`, `history` is the prompt, `probabilities` float64 `[vocabulary]`, 0 for
excluded tokens. Of a random step, it is the distribution of the first draw with `options.seed`.
"""


class Golden(NamedTuple):
    """A row whose distribution is known."""

    logits: Sequence[float]
    options: SamplingOptions
    probabilities: Mapping[int, float]
    """By token; all others have the probability 0."""
    prompt: Sequence[int] = ()
