"""Embeddings: one vector for a text, from the hidden states of its tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_core.contracts.graph import Array
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Request
from zigai_core.engine.stream import Stream

TOGETHER = 64
"""Maximum number of texts in the engine at the same time."""

Pooling = Literal["last", "mean", "cls"]
"""How hidden states become an embedding: that of the last token, the mean, or that of the first token."""


def text_end(spec: TokenizerSpec | None) -> list[int]:
    """Returns the tokens that end a whole text: the end-of-text token if the file asks for it, else none."""
    eos = spec.special_ids.get("eos") if spec is not None and spec.add_eos else None
    return [] if eos is None else [eos]


def embed(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    pooling: Pooling | None,
    *,
    own: str | None = None,
    width: int,
    normalize: bool,
) -> Array:
    """Returns an embedding for each prompt: float32 `[len(prompts), width]`.

    `own` is the pooling that the graph itself does (`Graph.pooling`). `pooling` None is that, or else `last`.

    Raises `UnsupportedError` for an unknown pooling, and for one that is not the graph's own if it has one.
    """
    if pooling is not None and pooling not in get_args(Pooling):
        raise UnsupportedError(f"pooling must be {', '.join(get_args(Pooling))}, not {quote(pooling)}")
    if own is not None and pooling not in (None, own):
        raise UnsupportedError(
            f"pooling={quote(pooling)}: this model makes one embedding of a text itself, by {own} pooling, "
            "and has no states of single tokens: leave pooling out"
        )
    if pooling is None or own is not None:
        pooling = "last"  # of a graph that pools, all rows are equal
    rows: Literal["last", "all"] = "last" if pooling == "last" else "all"
    pooled: list[Array] = []
    streams: deque[Stream] = deque()
    waiting = deque(prompts)
    try:
        while waiting or streams:
            while waiting and len(streams) < TOGETHER:
                streams.append(engine.submit(Request(waiting.popleft(), outputs="hidden", rows=rows)))
            pooled.append(_pool(streams[0].outputs, pooling))
            streams.popleft().close()
    finally:
        for stream in streams:
            stream.close()
    embeddings = np.stack(pooled) if pooled else np.empty((0, width), np.float32)
    if normalize:
        lengths = np.linalg.norm(embeddings, axis=-1, keepdims=True)
        embeddings = np.divide(embeddings, lengths, out=np.zeros_like(embeddings), where=lengths > 0)
    return embeddings


def _pool(hidden: Array, pooling: Pooling) -> Array:
    if pooling == "mean":
        mean: Array = hidden.mean(axis=0, dtype=np.float32)
        return mean
    pooled: Array = hidden[0] if pooling == "cls" else hidden[-1]
    return pooled
