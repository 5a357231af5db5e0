"""Perplexity of a text, over windows of tokens.

Source of both definitions: llama.cpp's `llama-perplexity` (tools/perplexity/perplexity.cpp), and for strides
https://huggingface.co/docs/transformers/perplexity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_cli.failure import InputError
from zigai_core.api.model import Model
from zigai_core.api.output_rows import OutputRows
from zigai_core.testing.divergence import Mean, perplexity, surprise_of

ROWS = 128
"""Rows of logits in memory at a time."""


@dataclass(frozen=True)
class Window:
    """Tokens that the model reads from an empty context, and how many of the last are scored."""

    start: int
    length: int
    scored: int


def windows(count: int, context: int, stride: int | None, most: int | None) -> list[Window]:
    """Divide `count` tokens into windows of `context` tokens, at most `most`.

    Without a stride windows follow one another, and those tokens of each are scored that have at least half a
    window before them. With a stride each window begins `stride` tokens after the one before it, and its last
    `stride` tokens are scored. A rest that does not fill a window is left out.

    Raises `InputError` if there is no window, or if `stride` is not less than `context`.
    """
    if context < 4:
        raise InputError(f"--context {context}: a window needs at least 4 tokens")
    if stride is not None and not 1 <= stride < context:
        raise InputError(f"--stride {stride}: must be from 1 to {context - 1}, below the window's length")
    if count < context:
        raise InputError(
            f"the text has {count} tokens, but a window has {context}: give a longer text"
            + (f", or --context {count} or less" if count >= 4 else "")
        )
    scored = context - context // 2 - 1 if stride is None else stride
    starts = range(0, count - context + 1, context if stride is None else stride)
    return [Window(start, context, scored) for start in starts[:most]]


class Perplexity:
    """Scores a text. Iterating computes one window after another and yields the result so far.

    If `bos` is given, it replaces the first token of each window, as llama.cpp does for models whose texts
    begin with it; the token itself is never scored.
    """

    def __init__(
        self, model: Model, tokens: Sequence[int], windows: Sequence[Window], bos: int | None
    ) -> None:
        model.graph.output("logits")
        self.windows = windows
        self._tokens = tokens
        self._bos = bos
        self._rows = OutputRows(model.program, ROWS)
        self._nats: list[NDArray[np.float64]] = []

    def __iter__(self) -> Iterator[Mean]:
        for window in self.windows:
            self._nats.append(self._score(window))
            yield self.result()

    def result(self) -> Mean:
        """The perplexity of the windows so far, and its standard error."""
        nats = self.nats
        if len(nats) == 1:
            return Mean(float(np.exp(nats[0])), float("nan"))
        return perplexity(nats)

    @property
    def nats(self) -> NDArray[np.float64]:
        """The surprise of each scored token so far, in nats."""
        return np.concatenate(self._nats)

    def _score(self, window: Window) -> NDArray[np.float64]:
        tokens = list(self._tokens[window.start : window.start + window.length])
        targets = tokens[-window.scored :]
        if self._bos is not None:
            tokens[0] = self._bos
        parts, done = [], 0
        # The logits after a token are those of the next one: the last token needs none.
        for outputs in self._rows.of(tokens[:-1], window.length - window.scored - 1):
            rows = outputs["logits"]
            parts.append(surprise_of(rows, targets[done : done + len(rows)]))
            done += len(rows)
        return np.concatenate(parts)
