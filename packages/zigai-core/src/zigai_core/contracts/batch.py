"""The tokens of one step: prompts and single tokens of several sequences side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Batch:
    """What `Context.run` computes in one step.

    Row i is token `tokens[i]` at `positions[i]` of sequence `sequences[i]`, an index into `page_tables`.
    Position p of a sequence is kept in slot `p % page` of page `page_tables[sequence][p // page]`. Rows of
    one sequence come in order of position and follow what its pages already hold, with no gap. `wanted`
    lists the rows whose outputs the caller gets, in the order it gets them. All arrays are int32.
    """

    tokens: NDArray[np.int32]
    positions: NDArray[np.int32]
    sequences: NDArray[np.int32]
    wanted: NDArray[np.int32]
    page_tables: Sequence[NDArray[np.int32]]

    def __len__(self) -> int:
        return len(self.tokens)
