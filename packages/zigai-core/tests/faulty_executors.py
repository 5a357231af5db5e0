"""Executors of the reference backend with a fault each, for the test of the suite for backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from zigai_core.contracts.batch import Batch, Pages, Slots
from zigai_core.contracts.best import Best, best
from zigai_core.contracts.errors import Cancelled
from zigai_core.contracts.graph import Array
from zigai_core.ops.reference import NumpyExecutor, NumpyOutputs


class Executor(NumpyExecutor):
    """A sound one: `change` changes the batch of each step."""

    def change(self, batch: Batch) -> Batch:
        return batch

    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        return super().run(self.change(batch), stop)

    def slots(self, group: int) -> Iterator[Array]:
        for memory in self._groups[group]:
            yield from memory.arrays.values()


def pages_of(batch: Batch, change: Callable[[list[Any]], list[Any]]) -> Batch:
    groups = (Pages(change(list(g.tables))) if isinstance(g, Pages) else g for g in batch.groups)
    return replace(batch, groups=tuple(groups))


def slots_of(batch: Batch, change: Callable[[Slots], Slots]) -> Batch:
    return replace(batch, groups=tuple(change(g) if isinstance(g, Slots) else g for g in batch.groups))


class IgnoresTheStopCell(Executor):
    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        return super().run(batch, np.zeros(1, np.int32))


class LooksAtTheCellAtTheBeginning(Executor):
    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        if stop[0]:
            raise Cancelled("at the beginning")
        return super().run(batch, np.zeros(1, np.int32))


class StaysCancelled(Executor):
    cancelled = False

    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        self.cancelled |= bool(stop[0])
        return super().run(batch, np.array([self.cancelled], np.int32))


class WritesBeforeItIsCancelled(Executor):
    """A cancelled step has written over what was readable."""

    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        if stop[0]:
            for group in range(len(self.sizes)):
                for array in self.slots(group):
                    array[...] = 1
        return super().run(batch, stop)


class WritesSlotsInPlace(Executor):
    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        outputs = super().run(batch, stop)
        for number, group in enumerate(batch.groups):
            if isinstance(group, Slots):
                for row, slot in group.writes.tolist():
                    read = group.reads[batch.sequences[row]]
                    for array in self.slots(number):
                        array[read if read >= 0 else slot] = array[slot]
        return outputs


class KeepsTheLastStateAlone(Executor):
    def change(self, batch: Batch) -> Batch:
        def last(group: Slots) -> Slots:
            rows = [
                int(np.flatnonzero(batch.sequences == batch.sequences[row])[-1]) for row in group.writes[:, 0]
            ]
            return Slots(group.reads, np.stack([np.array(rows, np.int32), group.writes[:, 1]], axis=1))

        return slots_of(batch, lambda group: last(group) if len(group.writes) else group)


class BeginsWithWhatTheSlotHolds(Executor):
    def change(self, batch: Batch) -> Batch:
        def first(group: Slots) -> Slots:
            return group if 0 in group.writes[:, 1] else Slots(np.maximum(group.reads, 0), group.writes)

        return slots_of(batch, first)


class ReadsASlotOnce(Executor):
    """Of forks, the first one finds its state."""

    def change(self, batch: Batch) -> Batch:
        def once(group: Slots) -> Slots:
            reads = group.reads.copy()
            for place in range(1, len(reads)):
                if reads[place] in reads[:place]:
                    reads[place] = -1
            return Slots(reads, group.writes)

        return slots_of(batch, once)


class RoundsStatesToFloat16(Executor):
    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        outputs = super().run(batch, stop)
        for number, group in enumerate(batch.groups):
            for array in self.slots(number) if isinstance(group, Slots) else ():
                if array.dtype == np.float32:
                    array[...] = array.astype(np.float16)
        return outputs


class CopiesAtTheSameTime(Executor):
    def copy(self, group: int, pairs: Sequence[tuple[int, int]]) -> None:
        super().copy(group, [])
        for array in self.slots(group):
            before = array.copy()
            for source, target in pairs:
                array[target] = before[source]


class CopiesAnything(Executor):
    def copy(self, group: int, pairs: Sequence[tuple[int, int]]) -> None:
        inside = [pair for pair in pairs if group == 0 and min(pair) >= 0 and max(pair) < self.sizes[0]]
        super().copy(0, inside)


class CopiesNothing(Executor):
    def copy(self, group: int, pairs: Sequence[tuple[int, int]]) -> None:
        super().copy(group, [])


class ReadsAnotherSequencesPage(Executor):
    """The last sequence of a step finds the first one's first page in place of its own."""

    def change(self, batch: Batch) -> Batch:
        def swap(tables: list[Any]) -> list[Any]:
            return [*tables[:-1], np.concatenate([tables[0][:1], tables[-1][1:]])]

        return pages_of(batch, swap)


class TakesPagesForNeighbours(Executor):
    def change(self, batch: Batch) -> Batch:
        def row(table: Any) -> Any:
            first = int(table[0]) if len(table) else 0
            return (first + np.arange(len(table), dtype=np.int32)) % max(self.sizes)

        return pages_of(batch, lambda tables: [row(table) for table in tables])


class SortsOutputRows(Executor):
    def change(self, batch: Batch) -> Batch:
        rows = batch.output_rows
        sound = rows.dtype == np.int32 and rows.ndim == 1
        return replace(batch, output_rows=np.sort(rows) if sound else rows)


class IgnoresEnds(Executor):
    def change(self, batch: Batch) -> Batch:
        return batch if self._program.graph.whole_sequences else replace(batch, ends=None)


class IgnoresPositions(Executor):
    def change(self, batch: Batch) -> Batch:
        return replace(batch, positions=None)


class IgnoresTypes(Executor):
    def change(self, batch: Batch) -> Batch:
        return replace(batch, types=None)


class IgnoresEmbeddings(Executor):
    def change(self, batch: Batch) -> Batch:
        if batch.embeddings is None:
            return batch
        return replace(batch, embeddings=np.zeros_like(batch.embeddings))


class MixesUpEmbeddings(Executor):
    def change(self, batch: Batch) -> Batch:
        return batch if batch.embeddings is None else replace(batch, embeddings=batch.embeddings[::-1])


class TakesAnyEmbeddings(Executor):
    def change(self, batch: Batch) -> Batch:
        width, count = self._program.graph.input_width, int((batch.tokens == -1).sum())
        if batch.embeddings is None or width is None:
            return replace(batch, tokens=abs(batch.tokens), embeddings=None)
        given = np.zeros((count, width), np.float32)
        return replace(batch, embeddings=given)


class TakesAnyToken(Executor):
    def change(self, batch: Batch) -> Batch:
        return replace(batch, tokens=batch.tokens % np.int32(self._program.graph.token_limit))


class TakesAnyType(Executor):
    def change(self, batch: Batch) -> Batch:
        known = np.resize(batch.token_types() % np.int32(self._program.graph.type_limit), len(batch))
        return replace(batch, types=known.astype(np.int32))


class GoesOnInAFork(Executor):
    def _check_process(self) -> None:
        pass


class GivesFloat64(Executor):
    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        outputs = super().run(batch, stop)
        return NumpyOutputs({name: rows.astype(float) for name, rows in outputs._outputs.items()})  # type: ignore[misc]


class KeepsOneWriteOfARow(Executor):
    def change(self, batch: Batch) -> Batch:
        def first(group: Slots) -> Slots:
            return Slots(group.reads, group.writes[np.unique(group.writes[:, 0], return_index=True)[1]])

        return slots_of(batch, first)


class TakesAnySlot(Executor):
    def change(self, batch: Batch) -> Batch:
        def inside(group: Slots) -> Slots:
            writes = group.writes.copy()
            writes[:, 0] = np.clip(writes[:, 0], 0, len(batch) - 1)
            writes[:, 1] = np.clip(writes[:, 1], 0, self.sizes[0] - 1)
            return Slots(np.clip(group.reads, -1, self.sizes[0] - 1), writes)

        return slots_of(batch, inside)


class SeesWhatWasTruncated(Executor):
    """Rows see entries up to the furthest one that was ever written."""

    furthest = 0

    def change(self, batch: Batch) -> Batch:
        if self._program.graph.whole_sequences:
            return batch
        self.furthest = max(self.furthest, int(batch.index.max()) + 1)
        return replace(batch, ends=np.full(len(batch), self.furthest, np.int32))


class TakesAPartForTheWhole(Executor):
    def change(self, batch: Batch) -> Batch:
        if not self._program.graph.whole_sequences:
            return batch
        counts = np.bincount(batch.sequences)
        index = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
        return replace(batch, index=index, ends=counts[batch.sequences].astype(np.int32))


class GivesEveryRow(Executor):
    def change(self, batch: Batch) -> Batch:
        return replace(batch, output_rows=np.arange(len(batch), dtype=np.int32))


class GivesLogitsAlone(Executor):
    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        outputs = super().run(batch, stop)._outputs
        return NumpyOutputs({n: rows if n == "logits" else 0 * rows for n, rows in outputs.items()})


class RoundsSizesUp(Executor):
    def __init__(self, program: Any, sizes: Sequence[int]) -> None:
        super().__init__(program, tuple(-(-size // 4) * 4 for size in sizes))


class WithBest(NumpyOutputs):
    """Outputs whose k best logits are those of another function, which gets the row and all arguments."""

    function: Callable[..., Best]

    def best(self, row: int, k: int, edits: Any = None, mask: Any = None, *, width: Any = None) -> Best:
        return type(self).function(self._outputs["logits"][row], k, edits, mask, width)


def best_by(function: Callable[..., Best]) -> type[Executor]:
    """An executor with outputs of that kind."""
    outputs = type("Outputs", (WithBest,), {"function": staticmethod(function)})

    class Made(Executor):
        def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
            return outputs(super().run(batch, stop)._outputs)  # type: ignore[no-any-return]

    return Made


def without_edits(row: Array, k: int, edits: Any, mask: Any, width: Any) -> Best:
    return best(row, k, None, mask, width=width)


def of_the_whole_row(row: Array, k: int, edits: Any, mask: Any, width: Any) -> Best:
    return best(row, k, edits, None if width else mask, width=None)


def damaged_anywhere(row: Array, k: int, edits: Any, mask: Any, width: Any) -> Best:
    return best(row, k, edits, mask, width=width)._replace(damaged=best(row, 1).damaged)


def of_any_width(row: Array, k: int, edits: Any, mask: Any, width: Any) -> Best:
    return best(row, k, edits, mask, width=None if width is None else min(max(width, 1), len(row)))
