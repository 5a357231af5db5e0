"""The page tables of a step: which pages it reads and writes, checked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Pages, Slots
from zigai_core.contracts.errors import ShapeError

Ints = NDArray[np.int32]

Tables = tuple[Ints, Ints]
"""The pages of a group that a step uses, of all sequences, and for each sequence what to add to the number of
a page in its sequence to find it among them (`zg_tables`). Or the rows of a step, by sequence and index."""


def unsigned_peak(array: Ints) -> int:
    """The largest number, where a negative one counts as one of 2³¹ or more; 0 if there is none.

    One comparison with a limit so checks both ends of a range.
    """
    if len(array) == 1:  # quicker, and frequent
        return int(array[0]) & 0xFFFFFFFF
    return int(np.maximum.reduce(array.view(np.uint32), initial=0))


class Extents:
    """By sequence of a step, the entries that its rows write and see. Arrays have an item per `present`.

    Raises `ShapeError` for rows of a sequence that do not follow each other.
    """

    def __init__(self, sequences: Ints, index: Ints, ends: Ints | None) -> None:
        if unsigned_peak(sequences) >= 2**31:
            raise ShapeError(f"batch: sequence {sequences.min()} is negative")
        self.order: NDArray[np.intp] | None = None
        """The rows, those of a sequence next to each other; None: in the order of the batch."""
        change = sequences[1:] - sequences[:-1] if len(sequences) > 1 else sequences[:0]
        if len(change) and change.min() < 0:
            order = self.order = np.argsort(sequences, kind="stable")
            sequences, index = sequences[order], index[order]
            ends = None if ends is None else ends[order]
            change = sequences[1:] - sequences[:-1]
        self._index, self._ends = index, ends
        self._starts: NDArray[np.intp] | None = None
        """The first row of each sequence, in this order of rows; None if each has one row."""
        self.present: Ints = sequences
        """The sequences that have rows, ascending."""
        self.first: Ints = index
        """The index of their first row."""
        self.last: Ints = index
        """The index of their last row."""
        if len(change) == 0 or change.min() > 0:
            return
        gaps = (change == 0) & (index[1:] - index[:-1] != 1)
        if gaps.any():
            at = int(gaps.argmax()) + 1
            row = at if self.order is None else int(self.order[at])
            raise ShapeError(
                f"batch: row {row} (index {index[at]}) does not follow its sequence's previous row"
            )
        cuts = np.flatnonzero(change)
        self._starts = np.concatenate(([0], cuts + 1))
        self.present, self.first = sequences[self._starts], index[self._starts]
        self.last = index[np.concatenate((cuts, [len(index) - 1]))]

    @property
    def starts(self) -> NDArray[np.intp]:
        """The first row of each sequence, in the order of `order`."""
        return np.arange(len(self.present)) if self._starts is None else self._starts

    @property
    def looks_ahead(self) -> bool:
        """True if rows may see entries after their own."""
        return self._ends is not None

    @cached_property
    def end(self) -> Ints:
        """The end of what they see."""
        return self.last + 1 if self._ends is None else self._largest(self._ends)

    def seen(self, window: int | None) -> tuple[Ints, Ints]:
        """The first entry that they see or write, and the end of these."""
        if window is None:
            first, end = np.zeros_like(self.first), self.end
            return first, end if self._ends is None else np.maximum(end, self.last + 1)
        window = min(window, 1 << 30)  # no context is longer, and sums stay within int32
        first = np.maximum(self.first - window + 1, 0)
        if self._ends is None:
            return first, self.end
        ends = np.minimum(self._ends, self._index + window)
        return first, np.maximum(self._largest(ends), self.last + 1)

    def _largest(self, numbers: Ints) -> Ints:
        """The largest of each sequence's rows."""
        return numbers if self._starts is None else np.maximum.reduceat(numbers, self._starts)


def tables_of(pages: object, window: int | None, extents: Extents, page: int, size: int) -> Tables:
    """The tables of a group of caches, of which only the used part is copied and checked.

    `size` is the number of the group's pages. `ShapeError` for a page that is missing or out of range.
    """
    if isinstance(pages, Slots) or not isinstance(pages, Pages):
        raise ShapeError("batch: a group of KV caches needs Pages")
    tables, present = pages.tables, extents.present
    if len(present) == 1 and (found := _tables_of_one(tables, window, extents, page, size)) is not None:
        return found
    if present[-1] >= len(tables):
        raise ShapeError(f"batch: sequence {present[-1]} is outside 0..{len(tables) - 1}")
    first, end = extents.seen(window)
    first, counts = first // page, -(-end // page) - first // page
    spans = zip(present.tolist(), first.tolist(), (first + counts).tolist(), strict=True)
    used = [tables[sequence][start:stop] for sequence, start, stop in spans]
    try:
        flat = np.concatenate(used)
    except (TypeError, ValueError):
        flat = np.zeros((0, 0))
    if flat.dtype != np.int32 or flat.ndim != 1:
        raise ShapeError("batch: page tables must be one-dimensional int32 arrays")
    if len(flat) != counts.sum():
        lengths = np.array([len(table) for table in used])
        at = int((lengths < counts).argmax())
        raise ShapeError(
            f"batch: sequence {present[at]} has {len(tables[present[at]])} pages of {page} "
            f"for index {end[at] - 1}"
        )
    if unsigned_peak(flat) >= size:
        wrong = int(((flat < 0) | (flat >= size)).argmax())
        at = int(np.searchsorted(np.cumsum(counts), wrong, side="right"))
        raise ShapeError(f"batch: sequence {present[at]}: page {flat[wrong]} is outside 0..{size - 1}")
    starts = np.zeros(present[-1] + 1, np.int32)
    starts[present] = np.cumsum(counts) - counts - first
    return flat, starts


def _tables_of_one(
    tables: Sequence[object], window: int | None, extents: Extents, page: int, size: int
) -> Tables | None:
    """The tables of a group if one sequence alone has rows; None for ends, and for a wrong step.

    A step of one row spends less time on its numbers than numpy does on its calls.
    """
    sequence, index, last = int(extents.present[0]), int(extents.first[0]), int(extents.last[0])
    if extents.looks_ahead or sequence >= len(tables):
        return None
    start = 0 if window is None else max(index - window + 1, 0) // page
    table, stop = tables[sequence], last // page + 1
    if not isinstance(table, np.ndarray) or table.dtype != np.int32 or table.ndim != 1 or len(table) < stop:
        return None
    used: Ints = table[start:stop].copy()
    if unsigned_peak(used) >= size:
        return None
    starts = np.zeros(sequence + 1, np.int32)
    starts[sequence] = -start
    return used, starts


def rows_of_whole(extents: Extents) -> Tables:
    """The rows of a step by sequence and index, if each sequence is whole in it; see `zg_tables`.

    `ShapeError` for a sequence that does not begin in this step, or whose rows see beyond its end.
    """
    rows = int((extents.last - extents.first + 1).sum())
    if extents.present[-1] >= rows:
        raise ShapeError(
            f"batch: sequence {extents.present[-1]}, but a step of {rows} rows has no more sequences"
        )
    late = extents.first != 0
    if late.any():
        at = int(late.argmax())
        raise ShapeError(
            f"batch: sequence {extents.present[at]} begins at index {extents.first[at]}, but this model "
            "keeps no state: each sequence must be in one step with all its tokens"
        )
    far = extents.end > extents.last + 1
    if far.any():
        at = int(far.argmax())
        raise ShapeError(
            f"batch: sequence {extents.present[at]} has {extents.last[at] + 1} rows, of which one has an "
            f"end of {extents.end[at]}"
        )
    starts = np.zeros(extents.present[-1] + 1, np.int32)
    starts[extents.present] = extents.starts
    order = np.arange(rows) if extents.order is None else extents.order
    return order.astype(np.int32), starts
