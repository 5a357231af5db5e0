"""An executor that computes nothing but checks everything: what an engine reads, writes and keeps.

Each place of a page holds the token that was written, its index, and a hash of the sequence up to it; a slot
holds a hash of all tokens so far. The logits of a row are a function of what the row sees in every group, so
a wrong page, a stale slot or a wrong order changes the tokens that are drawn, or raises `AssertionError`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import IN_PLACE, Batch, Pages, Slots
from zigai_core.contracts.best import Best, Edits, best
from zigai_core.contracts.errors import Cancelled, ZigAIError
from zigai_core.contracts.graph import WANTED, Array, Graph, Operation, Step, Value
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import ProgramReport
from zigai_core.contracts.state import KVCache, Recurrent, State

_WORD = (1 << 64) - 1
EMPTY = 0x9E3779B97F4A7C15
"""The hash of no tokens."""


@dataclass(frozen=True, eq=False)
class Remember(Operation):
    """Stands for all that uses one state."""

    state: State
    vocabulary: int

    @property
    def token_limit(self) -> int:
        """The size of the vocabulary."""
        return self.vocabulary

    @property
    def input_width(self) -> int:
        """1: an embedding is the number of a token, which is computed as that token is."""
        return 1

    def evaluate(self, step: Step) -> Array:
        """Not defined."""
        raise NotImplementedError("the graph of checks is not for evaluation")


@dataclass(frozen=True, eq=False)
class WholeRows(Remember):
    """Stands for an encoder's operation without state."""

    @property
    def whole_sequences(self) -> bool:
        """True."""
        return True

    @property
    def states(self) -> tuple[State, ...]:
        """None."""
        return ()


def checking_graph(
    *, full: bool = True, windows: Sequence[int] = (), recurrent: bool = False, vocabulary: int = 50
) -> Graph:
    """Returns a graph with these groups of states; with none of them, an encoder.

    Its outputs are `logits` `[wanted, vocabulary]` and `hidden` `[wanted, 4]`.
    """
    states = [State("full", KVCache(1, 1, 1))] if full else []
    states += [State(f"window{window}", KVCache(1, 1, 1, window)) for window in windows]
    if recurrent:
        states.append(State("recurrent", Recurrent({"hash": ((1,), "float32")})))
    outputs = {"logits": Value("logits", vocabulary, WANTED), "hidden": Value("hidden", 4, WANTED)}
    operations: list[Operation] = [
        Remember(Value(f"use_{state.name}", 1), state, vocabulary) for state in states
    ]
    if not states:
        operations.append(WholeRows(Value("rows", 1), State("none", KVCache(1, 1, 1)), vocabulary))
    return Graph(tuple(operations), outputs)


class CheckingProgram:
    """A program whose executors are `CheckingExecutor`; `options.page` and the others are kept to."""

    batch_invariant = True

    def __init__(self, graph: Graph, options: CompileOptions) -> None:
        self.graph = graph
        self.options = options
        self.executors: list[CheckingExecutor] = []
        """All that were made."""

    @property
    def state_bytes(self) -> tuple[int, ...]:
        """One byte for each token of a page, or a slot."""
        return tuple(1 if group.recurrent else self.options.page for group in self.graph.groups)

    def new_executor(self, sizes: Sequence[int]) -> CheckingExecutor:
        """Returns an executor; see `Program`."""
        self.executors.append(CheckingExecutor(self, sizes))
        return self.executors[-1]

    def report(self) -> ProgramReport:
        """Returns a report without tensors."""
        return ProgramReport("checking", "hashes in place of numbers", ())


class CheckingOutputs:
    """The outputs of a step, from a hash for each output row."""

    def __init__(self, hashes: Sequence[int], graph: Graph) -> None:
        self._hashes = hashes
        self._graph = graph
        self._rows: dict[str, Array] = {}

    def rows(self, name: str) -> Array:
        """Returns random numbers seeded by the rows' hashes."""
        if name not in self._rows:
            width = self._graph.output(name).width
            columns = np.arange(1, width + 1, dtype=np.uint64)
            words = np.add.outer(np.array(self._hashes, np.uint64), columns)
            self._rows[name] = (_scramble(words) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 22)
        return self._rows[name]

    def best(
        self,
        row: int,
        k: int,
        edits: Edits | None = None,
        mask: NDArray[np.uint32] | None = None,
        *,
        width: int | None = None,
    ) -> Best:
        """Returns the k best of a row of `logits`."""
        return best(self.rows("logits")[row], k, edits, mask, width=width)


@dataclass
class _Page:
    """The content of a page: by place, the token, its index and the hash of its sequence up to it."""

    places: dict[int, tuple[int, int, int]] = field(default_factory=dict)


class CheckingExecutor:
    """Implements `Executor` and asserts its contract.

    `faults` maps the number of a run, from 0, to the exception that it raises after it has written a part of
    what it should: pages and slots that a failed step may write hold nonsense then. `before_run` is called
    with the batch and the cell `stop`, so that a test can do something in the middle of a step.
    """

    def __init__(self, program: CheckingProgram, sizes: Sequence[int]) -> None:
        graph = program.graph
        self.sizes = tuple(sizes)
        self.graph = graph
        self.options = program.options
        self.groups = graph.groups
        assert len(sizes) == len(self.groups)
        self.runs = 0
        self.faults: dict[int, BaseException] = {}
        self.before_run: Callable[[Batch, NDArray[np.int32]], None] | None = None
        self.rows = 0
        """Rows of all runs that succeeded."""
        self._pid = os.getpid()
        self._pages = [
            None if group.recurrent else [_Page() for _ in range(size)]
            for group, size in zip(self.groups, sizes, strict=True)
        ]
        self._slots: list[dict[int, tuple[int, int]]] = [{} for _ in self.groups]

    def run(self, batch: Batch, stop: NDArray[np.int32]) -> CheckingOutputs:
        """Checks a batch and computes hashes."""
        if self._pid != os.getpid():
            raise ZigAIError("the executor belongs to the parent process")
        number = self.runs
        self.runs += 1
        batch = self._with_tokens(batch)
        self._check(batch)
        if self.before_run is not None:
            self.before_run(batch, stop)
        if number in self.faults:
            self._spoil(batch)
            raise self.faults[number]
        if stop[0]:
            self._spoil(batch)
            raise Cancelled("the step was stopped")
        seen = self._compute(batch)
        self.rows += len(batch)
        return CheckingOutputs([seen[row] for row in batch.output_rows.tolist()], self.graph)

    def copy(self, group: int, pairs: Sequence[tuple[int, int]]) -> None:
        """Copies pages or slots."""
        pages = self._pages[group]
        for source, target in pairs:
            assert source != target and 0 <= source < self.sizes[group] and 0 <= target < self.sizes[group]
            if pages is not None:
                pages[target].places = dict(pages[source].places)
            else:
                self._slots[group][target] = self._slots[group][source]

    def _with_tokens(self, batch: Batch) -> Batch:
        """The batch with the tokens that its embeddings stand for."""
        in_place = batch.tokens == IN_PLACE
        if batch.embeddings is None:
            assert not in_place.any(), "a token without an embedding"
            return batch
        assert batch.embeddings.dtype == np.float32
        assert batch.embeddings.shape == (np.count_nonzero(in_place), 1), "more or fewer embeddings than rows"
        tokens = batch.tokens.copy()
        tokens[in_place] = batch.embeddings[:, 0]
        return replace(batch, tokens=tokens, embeddings=None)

    def _check(self, batch: Batch) -> None:
        rows = len(batch)
        assert 0 < rows <= self.options.batch, f"{rows} rows in a step"
        assert len(batch.sequences) == len(batch.index) == rows and len(batch.groups) == len(self.groups)
        arrays = (batch.tokens, batch.sequences, batch.index, batch.output_rows)
        assert all(array.dtype == np.int32 for array in arrays)
        assert ((batch.tokens >= 0) & (batch.tokens < self.graph.vocabulary_size)).all()
        assert ((batch.index >= 0) & (batch.index < self.options.context)).all(), "outside the context"
        assert (np.diff(batch.output_rows) > 0).all() and len(batch.output_rows) <= rows
        count = int(batch.sequences.max()) + 1
        assert set(batch.sequences.tolist()) == set(range(count)), "a sequence of the step has no row"
        for number in range(count):
            index = batch.index[batch.sequences == number]
            assert (np.diff(index) == 1).all(), "the rows of a sequence have gaps"
            assert not self.graph.whole_sequences or index[0] == 0
        written: list[set[tuple[int, int]]] = [set() for _ in self.groups]
        for g, entry in enumerate(batch.groups):
            if isinstance(entry, Pages):
                assert len(entry.tables) == count
                for token in range(rows):
                    place = self._place(batch, entry, token)
                    assert place not in written[g], "two rows are written to one place"
                    written[g].add(place)
            else:
                slots = entry.writes[:, 1].tolist()
                reads = [slot for slot in entry.reads.tolist() if slot >= 0]
                assert len(entry.reads) == count and len(set(slots)) == len(slots), "a slot is written twice"
                assert not set(slots) & set(reads), "a slot is read and written"
                assert all(0 <= slot < self.sizes[g] for slot in slots + reads)

    def _place(self, batch: Batch, pages: Pages, row: int) -> tuple[int, int]:
        index, size = int(batch.index[row]), self.options.page
        page = int(pages.tables[int(batch.sequences[row])][index // size])
        assert page >= 0, "a row is written to a page that was given up"
        return page, index % size

    def _spoil(self, batch: Batch) -> None:
        """Writes nonsense wherever a failed step may have written."""
        for g, entry in enumerate(batch.groups):
            pages = self._pages[g]
            if isinstance(entry, Pages):
                assert pages is not None
                for row in range(len(batch)):
                    page, place = self._place(batch, entry, row)
                    pages[page].places[place] = (-1, -1, -1)
            else:
                for _, slot in entry.writes.tolist():
                    self._slots[g][slot] = (-1, -1)

    def _compute(self, batch: Batch) -> list[int]:
        tokens, index = batch.tokens.tolist(), batch.index.tolist()
        sequences, ends = batch.sequences.tolist(), batch.seen().tolist()
        own = [0] * len(tokens)  # the hash of the sequence up to each row
        state: dict[int, int] = {}
        for row, (token, number) in enumerate(zip(tokens, sequences, strict=True)):
            if number not in state:
                state[number] = self._before(batch, number, index[row])
            state[number] = own[row] = _next(state[number], token)
        for g, entry in enumerate(batch.groups):
            pages = self._pages[g]
            if isinstance(entry, Pages):
                assert pages is not None
                for row, token in enumerate(tokens):
                    page, place = self._place(batch, entry, row)
                    pages[page].places[place] = (token, index[row], own[row])
            else:
                for row, slot in entry.writes.tolist():
                    self._slots[g][slot] = (index[row] + 1, own[row])
        if not self.groups:
            return self._whole(batch, ends)
        for row in range(len(tokens)):
            assert ends[row] == index[row] + 1
            for g, entry in enumerate(batch.groups):
                if isinstance(entry, Pages):
                    self._read(g, entry.tables[sequences[row]], index[row] + 1, own[row])
        return own

    def _before(self, batch: Batch, number: int, first: int) -> int:
        """The hash of a sequence before its first row, on which all groups must agree."""
        if not first:
            for entry in batch.groups:
                assert isinstance(entry, Pages) or entry.reads[number] == -1, "an empty sequence has a slot"
            return EMPTY
        found = set()
        for g, entry in enumerate(batch.groups):
            if isinstance(entry, Slots):
                slot = int(entry.reads[number])
                assert slot in self._slots[g], "a slot is read that was never written"
                length, seen = self._slots[g][slot]
                assert length == first, f"the slot holds {length} tokens, not {first}"
                found.add(seen)
            else:
                found.add(self._entry(g, entry.tables[number], first - 1)[2])
        assert len(found) == 1, "groups hold different sequences"
        return found.pop()

    def _entry(self, group: int, table: NDArray[np.int32], index: int) -> tuple[int, int, int]:
        pages, size = self._pages[group], self.options.page
        page = int(table[index // size])
        assert pages is not None and page >= 0, f"index {index} is read from a page that was given up"
        found = pages[page].places.get(index % size)
        assert found is not None, f"index {index} is read from a place that was never written"
        assert found[1] == index, f"the place of index {index} holds index {found[1]}"
        return found

    def _read(self, group: int, table: NDArray[np.int32], end: int, seen: int) -> None:
        """Follows a row's sequence back: each place must continue the one before it."""
        window = self.groups[group].window
        first = 0 if window is None else max(0, end - window)
        entries = [self._entry(group, table, index) for index in range(first, end)]
        assert entries[-1][2] == seen, "the last place is of another sequence"
        assert first or entries[0][2] == _next(EMPTY, entries[0][0]), "the first place is of another sequence"
        for before, after in pairwise(entries):
            assert after[2] == _next(before[2], after[0]), "a place is of another sequence"

    def _whole(self, batch: Batch, ends: list[int]) -> list[int]:
        """The hashes of an encoder: each row sees all of its sequence."""
        hashes = []
        for row, end in enumerate(ends):
            tokens = batch.tokens[batch.sequences == batch.sequences[row]]
            assert end == len(tokens), "a row does not see its whole sequence"
            seen = EMPTY
            for token in tokens.tolist():
                seen = _next(seen, token)
            hashes.append(_next(seen, int(batch.index[row])))
        return hashes


def expected_hash(tokens: Sequence[int]) -> int:
    """Returns the hash of a sequence."""
    seen = EMPTY
    for token in tokens:
        seen = _next(seen, token)
    return seen


def _next(seen: int, token: int) -> int:
    """The hash of a sequence with one token more (SplitMix64's output function)."""
    z = (seen + 0x9E3779B97F4A7C15 * (token + 1)) & _WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _WORD
    return z ^ (z >> 31)


def _scramble(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = words * np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return words ^ (words >> np.uint64(27))
