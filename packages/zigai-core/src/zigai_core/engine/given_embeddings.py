"""Checks of the embeddings that a request gives in place of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zigai_core.contracts.batch import IN_PLACE
from zigai_core.contracts.errors import ShapeError, UnsupportedError, quote
from zigai_core.contracts.graph import Graph


def check_embeddings(given: Any, prompt: Sequence[int], overflow: str, *, drafted: bool) -> None:
    """Raises `ShapeError` unless there is a row of finite numbers for each token -1 of the prompt.

    `UnsupportedError` for what cannot be done with them: a drafter (`drafted`) and a shift, since both see
    tokens alone.
    """
    if not isinstance(given, np.ndarray) or given.dtype != np.float32 or given.ndim != 2:
        found = f"{given.dtype} {given.shape}" if isinstance(given, np.ndarray) else quote(given)
        raise ShapeError(f"embeddings must be a float32 array [n, width], not {found}")
    count = int(np.count_nonzero(np.asarray(prompt) == IN_PLACE))
    if len(given) != count:
        raise ShapeError(
            f"there are {len(given)} embeddings for {count} tokens -1 of the prompt: give one for each"
        )
    finite = np.isfinite(given).all(axis=1)
    if not finite.all():
        raise ShapeError(
            f"embedding {int(np.argmin(finite))} has numbers that are not finite: see what made it"
        )
    if drafted:
        raise UnsupportedError(
            "a request with embeddings has no draft tokens, since a drafter sees tokens alone: leave out the "
            "drafter"
        )
    if overflow == "shift":
        raise UnsupportedError(
            "a prompt with embeddings cannot be shifted: use the overflow policy stop or error"
        )


def check_width(width: int, graph: Graph) -> None:
    """Raises `UnsupportedError` for a graph that takes no embeddings, `ShapeError` for another width."""
    if graph.input_width is None:
        raise UnsupportedError(
            "the request has embeddings, but this model's graph takes none in place of tokens (it has no "
            "operation Inputs): give tokens alone, or use a model that takes embeddings"
        )
    if width != graph.input_width:
        raise ShapeError(
            f"the request's embeddings are {width} wide, and the model takes rows of {graph.input_width}: "
            "use the encoder that belongs to the model"
        )
