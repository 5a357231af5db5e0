"""Pooling: a row that stands for a whole sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from zigai_core.contracts.graph import TOKENS, WANTED, Array, Operation, Step, Value
from zigai_core.contracts.pooling import PoolKind


@dataclass(frozen=True, eq=False)
class Pool(Operation):
    """The pool of all rows of the output row's own sequence: `[tokens, width]` to `[wanted, width]`.

    Each sequence must be whole in one step, so the graph has no states. All output rows of a sequence are
    equal. The kinds are those of sentence-transformers' `Pooling` (Reimers and Gurevych, 2019,
    arXiv:1908.10084, section 3).
    """

    x: Value
    kind: PoolKind

    @property
    def whole_sequences(self) -> bool:
        """True: rows that an earlier step has computed would be missing."""
        return True

    @property
    def pooling(self) -> PoolKind:
        """The kind."""
        return self.kind

    def fault(self) -> str | None:
        """Returns why the attributes are invalid or do not fit the values; None if they are valid."""
        if self.kind not in get_args(PoolKind):
            return f"there is no kind {self.kind!r} of pooling, only {', '.join(get_args(PoolKind))}"
        if (self.x.rows, self.output.rows) != (TOKENS, WANTED):
            return f"it makes {self.output.rows} rows of {self.x.rows}, not wanted ones of those of tokens"
        if self.x.width != self.output.width:
            return f"its input {self.x.name} is {self.x.width} wide, its output {self.output.width}"
        return None

    def evaluate(self, step: Step) -> Array:
        x, batch = step[self.x], step.batch
        out = np.empty((len(batch.output_rows), self.output.width), np.float32)
        wanted = batch.sequences[batch.output_rows]
        for sequence in np.unique(wanted).tolist():
            rows = x[batch.sequences == sequence]  # in the order of the sequence
            pooled = {"cls": rows[0], "last": rows[-1]}.get(self.kind)
            out[wanted == sequence] = rows.mean(axis=0, dtype=np.float32) if pooled is None else pooled
        return out
