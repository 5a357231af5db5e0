"""Runs sequences whose pages and slots lie anywhere in an executor's memory, for test kits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from zigai_core.contracts.batch import Batch, Ints, Pages, Slots
from zigai_core.contracts.graph import Array
from zigai_core.contracts.plugins import Program
from zigai_core.testing.checks import ints

LEAST_BATCH, LEAST_ROOM = 16, 8


@dataclass(eq=False)
class ScatteredSequence:
    """A sequence of a `ScatteredRunner`: by group, its page table (empty if recurrent) and its slot or -1."""

    tables: list[Ints]
    slots: list[int]
    length: int = 0


Part = tuple[ScatteredSequence, Sequence[int]]
"""A sequence, and the tokens that a step appends to it."""


class ScatteredRunner:
    """An executor with memory for `sequences` sequences of maximum length.

    Pages are given to sequences in a random order, and each step writes slots that no sequence reads, so that
    neighbours in a sequence are none in memory. A fork shares pages and slots as an engine's does. Not
    thread-safe; after an exception of `step`, sequences hold what earlier steps computed.
    """

    def __init__(self, program: Program, sequences: int) -> None:
        self.program = program
        self._groups = program.graph.groups
        pages, random = program.options.pages, np.random.RandomState(5)
        # Slots: each sequence reads one, and a step writes one for each of its rows at most.
        slots = 2 * sequences + program.options.batch
        sizes = [slots if group.recurrent else sequences * pages for group in self._groups]
        self.executor = program.new_executor(sizes)
        self._free = [[int(place) for place in random.permutation(size)] for size in sizes]
        self._users: list[Counter[int]] = [Counter() for _ in sizes]
        self._stop = np.zeros(1, np.int32)
        self._written: list[dict[int, int]] = [{} for _ in sizes]
        """By group, the slots that the last step has written, by row."""

    def new_sequence(self) -> ScatteredSequence:
        """Returns an empty sequence, with pages for a whole context."""
        pages = self.program.options.pages
        tables = [self._take(g, 0 if group.recurrent else pages) for g, group in enumerate(self._groups)]
        return ScatteredSequence([np.array(table, np.int32) for table in tables], [-1] * len(self._groups))

    def forget(self, sequence: ScatteredSequence) -> None:
        """Makes a sequence empty; it keeps its pages."""
        self._read(sequence, [-1] * len(self._groups))
        sequence.length = 0

    def truncate(self, sequence: ScatteredSequence, length: int, slots: Sequence[int] = ()) -> None:
        """Forgets the tokens from index `length` on. `slots` hold the recurrent states at that length."""
        if any(group.recurrent for group in self._groups) and not slots:
            raise ValueError("a recurrent state can only be truncated to a slot that holds it")
        if slots:
            self._read(sequence, slots)
        sequence.length = length

    def fork(self, sequence: ScatteredSequence) -> ScatteredSequence:
        """Returns a second sequence with the same tokens.

        Whole pages and the slot are shared, a part of a page is copied.
        """
        twin = self.new_sequence()
        whole, inside = divmod(sequence.length, self.program.options.page)
        for g, group in enumerate(self._groups):
            if not group.recurrent:
                self._free[g] += twin.tables[g][:whole].tolist()
                twin.tables[g][:whole] = sequence.tables[g][:whole]
                if inside:
                    self.executor.copy(g, [(int(sequence.tables[g][whole]), int(twin.tables[g][whole]))])
        self._read(twin, sequence.slots)
        twin.length = sequence.length
        return twin

    def copy(self, sequence: ScatteredSequence) -> ScatteredSequence:
        """Returns a second sequence with the same tokens, which shares nothing: each page is copied alone."""
        twin = self.new_sequence()
        held = -(-sequence.length // self.program.options.page)
        for g, group in enumerate(self._groups):
            pairs = zip(sequence.tables[g][:held].tolist(), twin.tables[g].tolist(), strict=False)
            if group.recurrent and sequence.slots[g] >= 0:
                (slot,) = self._take(g, 1)
                pairs = zip([sequence.slots[g]], [slot], strict=True)
                twin.slots[g] = slot
                self._users[g][slot] = 1
            for pair in reversed(list(pairs)):
                self.executor.copy(g, [pair])
        twin.length = sequence.length
        return twin

    def step(
        self,
        *parts: Part,
        output_rows: Sequence[int] | None = None,
        checkpoints: bool = False,
        types: Sequence[int] = (),
    ) -> Mapping[str, Array]:
        """Computes one step, and returns each output: `[rows, width]`, the rows of the parts in their order.

        `output_rows` are the rows that are wanted; by default all. With `checkpoints`, which takes one part,
        the state after each of its rows is written to a slot: see `checkpoint`. `types` is the type of the
        token of each row; without any, all are 0.
        """
        for g, written in enumerate(self._written):
            self._free[g] += (slot for slot in written.values() if not self._users[g][slot])
            written.clear()
        counts = [len(tokens) for _, tokens in parts]
        starts = np.cumsum([0, *counts])
        wanted = range(int(starts[-1])) if output_rows is None else output_rows
        whole = self.program.graph.whole_sequences
        rows = range(counts[0]) if checkpoints else [int(end) - 1 for end in starts[1:]]
        writes = [
            dict(zip(rows, self._take(g, len(rows)), strict=True)) if group.recurrent else {}
            for g, group in enumerate(self._groups)
        ]
        batch = Batch(
            tokens=ints(chain.from_iterable(tokens for _, tokens in parts)),
            sequences=np.repeat(np.arange(len(parts), dtype=np.int32), counts),
            index=ints(
                chain.from_iterable(range(part.length, part.length + len(tokens)) for part, tokens in parts)
            ),
            output_rows=ints(wanted),
            groups=tuple(
                Slots(ints(part.slots[g] for part, _ in parts), _pairs(writes[g]))
                if group.recurrent
                else Pages([part.tables[g] for part, _ in parts])
                for g, group in enumerate(self._groups)
            ),
            ends=np.repeat(ints(counts), counts) if whole else None,
            types=ints(types) if len(types) else None,
        )
        try:
            outputs = self.executor.run(batch, self._stop)
        except BaseException:
            for g, taken in enumerate(writes):
                self._free[g] += taken.values()
            raise
        for (part, _), count, end in zip(parts, counts, starts[1:].tolist(), strict=True):
            self._read(part, [taken.get(end - 1, -1) for taken in writes])
            part.length += count
        self._written = writes
        return {name: outputs.rows(name).copy() for name in self.program.graph.outputs}

    def checkpoint(self, row: int) -> list[int]:
        """Returns, by group, the slot that holds the state after a row of the last step, which wrote all."""
        return [taken.get(row, -1) for taken in self._written]

    def _read(self, sequence: ScatteredSequence, slots: Sequence[int]) -> None:
        """Makes a sequence read these slots from now on."""
        for g, (new, old) in enumerate(zip(slots, sequence.slots, strict=True)):
            users = self._users[g]
            users[new] += 1
            users[old] -= 1
            if old >= 0 and not users[old]:
                self._free[g].insert(0, old)  # used again as late as possible
        sequence.slots = list(slots)

    def _take(self, group: int, count: int) -> list[int]:
        free = self._free[group]
        if len(free) < count:
            raise ValueError("there is no memory for another sequence")
        return [free.pop() for _ in range(count)]


def check_program(program: Program, tokens: Sequence[int]) -> None:
    """Raises `ValueError` for tokens or sizes of a program that are too small for all schedules to differ."""
    options, count = program.options, len(tokens)
    batch = LEAST_BATCH + (count - LEAST_ROOM if program.graph.whole_sequences else 0)
    for wrong, text in (
        (count < 4, f"a schedule needs at least 4 tokens, not {count}"),
        (count <= options.page, f"give more tokens than a page holds: {count} of {options.page}"),
        (count + LEAST_ROOM > options.context, f"compile with a context of at least {count + LEAST_ROOM}"),
        (options.batch < batch, f"compile with a batch of at least {batch}"),
    ):
        if wrong:
            raise ValueError(text)


def _pairs(writes: Mapping[int, int]) -> Ints:
    return np.array(list(writes.items()), np.int32).reshape(-1, 2)
