"""Checks of a step's input, for backends that read it in Python."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import IN_PLACE, Batch, Pages, Slots
from zigai_core.contracts.errors import ContextOverflowError, ShapeError, UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.options import CompileOptions


def check_batch(batch: Batch, graph: Graph, options: CompileOptions, sizes: tuple[int, ...]) -> None:
    """Raises `ShapeError`, or `ContextOverflowError` for more rows than planned, for an invalid batch."""
    count = len(batch.tokens)
    for name in ("tokens", "sequences", "index", "output_rows", "ends", "types"):
        array = getattr(batch, name)
        if array is None and name in ("ends", "types"):
            continue
        if array.dtype != np.int32 or array.ndim != 1 or (name != "output_rows" and len(array) != count):
            raise ShapeError(f"batch: {name} must be int32 [{count}], not {array.dtype} {array.shape}")
    if not count:
        raise ShapeError("batch: it has no rows")
    if count > options.batch:
        raise ContextOverflowError(f"batch: {count} rows, but options.batch is {options.batch}")
    if batch.index.max() >= options.context:
        raise ContextOverflowError(f"batch: index {batch.index.max()} in a context of {options.context}")
    check_embeddings(batch.embeddings, batch.tokens, graph.input_width)
    known = batch.tokens if batch.embeddings is None else batch.tokens[batch.tokens != IN_PLACE]
    _within("token", known, graph.token_limit)
    _within("index", batch.index, options.context)
    _within("output row", batch.output_rows, count)
    if batch.positions is not None and (batch.positions.ndim != 2 or batch.positions.shape[1] != count):
        raise ShapeError(f"batch: positions must be [sections, {count}], not {batch.positions.shape}")
    if graph.position_limit is not None:
        if batch.positions is not None and not len(batch.positions):
            raise ShapeError("batch: positions have no section")
        _within("position", batch.position(), graph.position_limit)
    if batch.types is not None:
        _within("type", batch.types, graph.type_limit)
    order = np.argsort(batch.sequences, kind="stable")
    gaps = (np.diff(batch.index[order]) != 1) & (np.diff(batch.sequences[order]) == 0)
    if gaps.any():
        row = int(order[int(np.argmax(gaps)) + 1])
        raise ShapeError(f"batch: row {row} does not follow its sequence's previous row")
    if len(batch.groups) != len(graph.groups):
        raise ShapeError(f"batch: {len(batch.groups)} groups, but the graph has {len(graph.groups)}")
    last = _by_sequence(np.maximum(batch.seen(), batch.index + 1), batch.sequences)
    if graph.whole_sequences:
        counts = np.bincount(batch.sequences)
        if any(counts[sequence] != end for sequence, end in last.items()):
            raise ShapeError("batch: this graph needs each sequence whole, from index 0, in one step")
    for group, places, size in zip(graph.groups, batch.groups, sizes, strict=True):
        if group.recurrent == isinstance(places, Pages):
            raise ShapeError("batch: pages for recurrent states, or slots for KV caches")
        if isinstance(places, Pages):
            for sequence, end in last.items():
                table = places.tables[sequence] if sequence < len(places.tables) else ()
                if len(table) < -(-end // options.page):
                    raise ShapeError(f"batch: sequence {sequence} has {len(table)} pages for {end} tokens")
                _within("page", np.asarray(table), size, least=-1)
        else:
            check_slots(places, int(batch.sequences.max()), count, size)


def check_embeddings(given: object, tokens: NDArray[np.int32], width: int | None) -> None:
    """Raises `ShapeError` for embeddings that do not fit a batch's tokens; `width` is what the graph takes.

    None, for no embeddings, always fits: -1 is no token then.
    """
    if given is None:
        return
    if width is None:
        raise ShapeError("batch: it has embeddings, but the graph takes none: it has no operation Inputs")
    shape = (int(np.count_nonzero(tokens == IN_PLACE)), width)
    if not isinstance(given, np.ndarray) or given.dtype != np.float32 or given.shape != shape:
        found = f"{given.dtype} {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
        raise ShapeError(f"batch: embeddings must be float32 {shape}, a row for each token -1, not {found}")


def check_slots(slots: Slots, last: int, rows: int, size: int) -> None:
    """Raises `ShapeError` for slots that do not fit a step of `rows` rows, or a group of `size` slots.

    `last` is the number of the step's last sequence.
    """
    reads, writes = slots.reads, slots.writes
    given: tuple[tuple[str, object, int], ...] = (("reads", reads, 1), ("writes", writes, 2))
    for name, array, ndim in given:
        if not isinstance(array, np.ndarray) or array.dtype != np.int32 or array.ndim != ndim:
            raise ShapeError(f"batch: {name} of slots must be an int32 array of {ndim} dimensions")
    if writes.shape[1] != 2:
        raise ShapeError(f"batch: writes of slots have shape {writes.shape}, not pairs of a row and a slot")
    if last >= len(reads):
        raise ShapeError(f"batch: sequence {last} reads no slot: there are {len(reads)}")
    _within("slot", reads, size, least=-1)
    _within("slot", writes[:, 1], size)
    _within("row", writes[:, 0], rows)
    seen = set(reads.tolist())
    for slot in writes[:, 1].tolist():
        if slot in seen:
            how = "both read and written" if slot in reads else "written twice"
            raise ShapeError(f"batch: slot {slot} is {how}")
        seen.add(slot)


def check_context(graph: Graph, context: int) -> None:
    """Raises `UnsupportedError` for a context that is longer than the positions that a graph knows."""
    if graph.position_limit is not None and context > graph.position_limit:
        raise UnsupportedError(
            f"options: context is {context}, but the model has embeddings of {graph.position_limit} "
            f"positions: use a context of {graph.position_limit} or less"
        )


def check_pairs(group: int, pairs: Sequence[tuple[int, int]], sizes: tuple[int, ...]) -> None:
    """Raises `ShapeError` for a group, or for a page or slot to copy, that an executor does not have."""
    if not 0 <= group < len(sizes):
        raise ShapeError(f"copy: group {group}, but the graph has {len(sizes)} groups")
    for source, target in pairs:
        if not (0 <= source < sizes[group] and 0 <= target < sizes[group]):
            raise ShapeError(
                f"copy: from {source} to {target}, but those of group {group} are 0..{sizes[group] - 1}"
            )


def _by_sequence(values: NDArray[np.int32], sequences: NDArray[np.int32]) -> dict[int, int]:
    """Returns the largest value of each sequence."""
    if sequences.min() < 0:
        raise ShapeError(f"batch: sequence {sequences.min()} is negative")
    found = np.zeros(int(sequences.max()) + 1, np.int64)
    np.maximum.at(found, sequences, values)
    return {int(sequence): int(found[sequence]) for sequence in np.unique(sequences)}


def _within(name: str, array: NDArray[np.int32], end: int, *, least: int = 0) -> None:
    if array.size and not (array.min() >= least and array.max() < end):
        wrong = array[(array < least) | (array >= end)][0]
        raise ShapeError(f"batch: {name} {wrong} is outside {least}..{end - 1}")
