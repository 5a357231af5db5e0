"""The input of one step: tokens of one or more sequences, in prefill, decode or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Batch:
    """The input of `Context.run`.

    Row i is token `tokens[i]` at position `positions[i]` of sequence `sequences[i]`, an index into
    `page_tables`. With pages of P tokens (`CompileOptions.page`), the key and value of position p are stored
    in slot `p % P` of page `page_tables[sequence][p // P]`. Rows of one sequence are in order of position and
    continue what its pages already hold, without gaps. `wanted` lists the output rows: the rows whose outputs
    are returned, in that order. All arrays are int32 and one-dimensional.
    """

    tokens: NDArray[np.int32]
    positions: NDArray[np.int32]
    sequences: NDArray[np.int32]
    wanted: NDArray[np.int32]
    page_tables: Sequence[NDArray[np.int32]]

    def __len__(self) -> int:
        return len(self.tokens)
