"""The input of one step: tokens of one or more sequences, in prefill, decode or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]

IN_PLACE = -1
"""The token of a row that takes a row of `Batch.embeddings`."""


@dataclass(frozen=True, eq=False)
class Pages:
    """Where the KV caches of a group are.

    `tables` has a page table for each sequence of the step. With pages of P tokens (`CompileOptions.page`),
    the key and value of index i are in place `i % P` of page `tables[sequence][i // P]`. The entry of a page
    that was given up, because it is behind the group's window, is -1.
    """

    tables: Sequence[Ints]


@dataclass(frozen=True, eq=False)
class Slots:
    """Where the recurrent states of a group are.

    `reads` `[sequences]` is the slot that holds a sequence's state before the step; -1 if it has no tokens
    yet. `writes` `[n, 2]` are pairs (row, slot): the state after a row is written to the slot. No slot is
    both read and written in a step, and none is written twice.
    """

    reads: Ints
    writes: Ints


@dataclass(frozen=True, eq=False)
class Batch:
    """The input of `Executor.run`. All arrays but `embeddings` are int32.

    Row i is token `tokens[i]` at place `index[i]`, counted from 0, of sequence `sequences[i]`; the sequences
    of a step are numbered from 0. Rows of one sequence are in ascending order of index and continue what its
    state holds, without gaps. `output_rows` are the rows whose outputs are returned, in that order.
    `groups` has an entry for each of `Graph.groups`.

    `positions` `[sections, rows]` are the positions for RoPE; None: one section, equal to `index`. A row sees
    entries of its sequence below `ends` `[rows]`; None: `index + 1`, which is causal. `ends` may only include
    rows that are in the same step or were computed before. `types` `[rows]` are the types of the tokens,
    which tell the texts of a pair apart; None: all are 0.

    `embeddings` `[n, width]`, float32, stand in place of tokens: a row whose token is -1 takes the next of
    them, in the order of rows, where the graph has the operation `Inputs` of that width. There are as many as
    rows with the token -1; None: there are none. Like weights, their values are not checked by a backend.
    """

    tokens: Ints
    sequences: Ints
    index: Ints
    output_rows: Ints
    groups: tuple[Pages | Slots, ...] = ()
    positions: Ints | None = None
    ends: Ints | None = None
    types: Ints | None = None
    embeddings: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def position(self, section: int = 0) -> Ints:
        """Returns the positions `[rows]` of a section."""
        return self.index if self.positions is None else self.positions[section]

    def seen(self) -> Ints:
        """Returns `ends`, or the causal ones: int32 `[rows]`."""
        return self.index + 1 if self.ends is None else self.ends

    def token_types(self) -> Ints:
        """Returns `types`, or zeros: int32 `[rows]`."""
        return np.zeros(len(self.tokens), np.int32) if self.types is None else self.types
