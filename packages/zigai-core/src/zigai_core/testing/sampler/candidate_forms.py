"""The forms in which a step may get its candidates, and what it makes of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from zigai_core.contracts.best import best
from zigai_core.contracts.graph import Array
from zigai_core.contracts.sampling import RowStep
from zigai_core.engine.sampling.candidates import RowCandidates, TokenCandidates
from zigai_core.engine.sampling.row import LogitsRow


def new_row(logits: Array, history: Sequence[int]) -> LogitsRow:
    """Returns an editable row of these logits."""
    return LogitsRow(logits, history, best)


def inputs(logits: Array, prompt: Sequence[int]) -> Iterator[tuple[str, TokenCandidates]]:
    """Yields candidates in the forms in which a step may get them."""
    whole = RowCandidates(new_row(logits, prompt), best, "in a test")
    yield "all", whole
    yield "ranked", RowCandidates(new_row(logits, prompt), best, "in a test").first(40)
    yield "one", RowCandidates(new_row(logits, prompt), best, "in a test").first(1)
    if len(logits) > 2:
        yield "some", whole.keep(np.arange(len(logits)) % 3 != 1)


def applied(
    step: Any, logits: Array, prompt: Sequence[int], draw: float
) -> Iterator[tuple[str, TokenCandidates, TokenCandidates]]:
    """Yields candidates before and after a step of either stage, in every form; all draws are `draw`."""
    with np.errstate(all="ignore"):
        if isinstance(step, RowStep):
            row = new_row(logits, prompt)
            step.edit(row)
            before = RowCandidates(new_row(logits, prompt), best, "in a test")
            yield "row", before, RowCandidates(row, best, "after the step")
            return
        for form, candidates in inputs(logits, prompt):
            yield form, candidates, step.choose(candidates, lambda: draw)
