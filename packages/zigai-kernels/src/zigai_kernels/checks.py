"""Checks of options, batches and page numbers, made before they reach C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Batch
from zigai_core.contracts.errors import ContextOverflowError, ShapeError, UnsupportedError
from zigai_core.contracts.options import KV_DTYPES, CompileOptions


def check_options(options: CompileOptions) -> None:
    """`UnsupportedError` for options out of the range for which memory can be planned."""
    for name, most in (("context", 2**30), ("batch", 2**20), ("page", 2**20)):
        value = getattr(options, name)
        if not 1 <= value <= most:
            raise UnsupportedError(f"options: {name} is {value}, must be from 1 to {most}")
    if options.kv_dtype not in KV_DTYPES:
        known = f"{', '.join(KV_DTYPES[:-1])} or {KV_DTYPES[-1]}"
        raise UnsupportedError(
            f"options: kv_dtype must be {known} for the native backend, not {options.kv_dtype}"
        )


class CheckedBatch(NamedTuple):
    """Copies of a batch's arrays as C reads them: contiguous int32. No other thread can change them."""

    tokens: NDArray[np.int32]
    positions: NDArray[np.int32]
    sequences: NDArray[np.int32]
    wanted: NDArray[np.int32]
    pages: NDArray[np.int32]
    page_starts: NDArray[np.int32]


def check_batch(batch: Batch, options: CompileOptions, pages: int, vocabulary: int) -> CheckedBatch:
    """A copy of the batch, every index of which is in range.

    `ContextOverflowError` for more tokens or a later position than planned, `ShapeError` for other faults.
    """
    tokens = _vector(batch.tokens, "tokens")
    positions, sequences = _vector(batch.positions, "positions"), _vector(batch.sequences, "sequences")
    wanted, count = _vector(batch.wanted, "wanted"), len(tokens)
    if not count or len(positions) != count or len(sequences) != count:
        raise ShapeError(
            f"batch: {count} tokens, {len(positions)} positions, {len(sequences)} sequences; "
            "the three arrays must have the same length, at least one"
        )
    if max(count, len(wanted)) > options.batch:
        raise ContextOverflowError(
            f"batch: {count} tokens and {len(wanted)} wanted rows, but options.batch is {options.batch}"
        )
    _within(tokens, vocabulary, "token id")
    _within(sequences, len(batch.page_tables), "sequence")
    _within(wanted, count, "wanted row")
    if positions.max() >= options.context:
        raise ContextOverflowError(f"batch: position {positions.max()} in a context of {options.context}")
    if positions.min() < 0:
        raise ShapeError(f"batch: position {positions.min()} is negative")
    if count > 1:
        order = np.argsort(sequences, kind="stable")
        gaps = (np.diff(positions[order]) != 1) & (np.diff(sequences[order]) == 0)
        if gaps.any():
            row = int(order[int(np.argmax(gaps)) + 1])
            raise ShapeError(
                f"batch: row {row} (position {positions[row]}) does not follow its sequence's previous row"
            )
    tables = [_vector(table, f"page table {i}") for i, table in enumerate(batch.page_tables)]
    for sequence in {*sequences.tolist()}:
        last = int(positions[sequences == sequence].max())
        needed = last // options.page + 1
        table = tables[sequence][:needed]
        if len(table) < needed:
            raise ShapeError(
                f"batch: sequence {sequence} has {len(table)} pages of {options.page} for position {last}"
            )
        _within(table, pages, f"sequence {sequence}: page")
    starts = np.zeros(len(tables), np.int32)
    np.cumsum([len(table) for table in tables[:-1]], out=starts[1:])
    flat = tables[0] if len(tables) == 1 else np.concatenate(tables)
    return CheckedBatch(tokens, positions, sequences, wanted, flat, starts)


def check_pages(pairs: Sequence[tuple[int, int]], pages: int) -> None:
    """`ShapeError` for a pair with a page outside `0..pages - 1`."""
    for source, target in pairs:
        if not (0 <= source < pages and 0 <= target < pages):
            raise ShapeError(f"copy_pages: from {source} to {target}, but the pages are 0..{pages - 1}")


def _vector(array: object, name: str) -> NDArray[np.int32]:
    if not isinstance(array, np.ndarray) or array.dtype != np.int32 or array.ndim != 1:
        raise ShapeError(f"batch: {name} must be a one-dimensional int32 array")
    return np.array(array, order="C")


def _within(array: NDArray[np.int32], end: int, name: str) -> None:
    if array.size and not (array.min() >= 0 and array.max() < end):
        wrong = array[(array < 0) | (array >= end)][0]
        raise ShapeError(f"batch: {name} {wrong} is outside 0..{end - 1}")
