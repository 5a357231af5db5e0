"""Checks of options, sizes and batches, made before they reach C."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import IN_PLACE, Batch
from zigai_core.contracts.errors import ContextOverflowError, ShapeError, UnsupportedError
from zigai_core.contracts.options import KV_DTYPES, CompileOptions
from zigai_core.ops.batch_checks import check_embeddings
from zigai_kernels.plan import Plan
from zigai_kernels.slots import SlotTables, slots_of
from zigai_kernels.tables import Extents, Tables, rows_of_whole, tables_of, unsigned_peak

MOST_BYTES = 1 << 46
"""Largest size of an executor's pages: the address space holds no more, and C counts bytes in 64 bits."""

Ints = NDArray[np.int32]

NO_TABLES: Tables = (np.zeros(1, np.int32), np.zeros(1, np.int32))
"""In place of the tables of a group of slots."""


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


def check_sizes(sizes: Sequence[int], plan: Plan) -> tuple[int, ...]:
    """The numbers of pages of an executor. `UnsupportedError` for numbers out of range."""
    sizes = tuple(int(size) for size in sizes)
    if len(sizes) != len(plan.state_bytes):
        raise UnsupportedError(
            f"an executor with sizes {sizes}, but the graph has {len(plan.state_bytes)} groups of states"
        )
    for size in sizes:
        if not 1 <= size < 2**31:
            raise UnsupportedError(f"an executor with {size} pages or slots: must be from 1 to {2**31 - 1}")
    nbytes = sum(size * each for size, each in zip(sizes, plan.state_bytes, strict=True))
    if nbytes > MOST_BYTES:
        raise UnsupportedError(f"an executor with {nbytes} bytes of pages; use fewer pages or a smaller page")
    return sizes


def check_stop(stop: object) -> None:
    """`ShapeError` unless `stop` is an int32 array of one number."""
    if not isinstance(stop, np.ndarray) or stop.dtype != np.int32 or stop.shape != (1,):
        raise ShapeError("run: stop must be an int32 array of one number")
    if not stop.flags.aligned:
        raise ShapeError("run: stop is not aligned in memory; make it with numpy.zeros(1, numpy.int32)")


@dataclass(frozen=True, eq=False)
class CheckedBatch:
    """Copies of a batch's arrays as C reads them: contiguous int32. No other thread can change them."""

    tokens: Ints
    sequences: Ints
    index: Ints
    ends: Ints | None
    positions: Ints
    section_rows: int
    """Numbers from one section of positions to the next; 0 if all sections are the same."""
    types: Ints | None
    """None: all are 0."""
    replaced: Ints | None
    """Of each row: the row of `embeddings` in its place, -1 for none. None without embeddings."""
    embeddings: NDArray[np.float32] | None
    wanted: Ints
    tables: list[Tables]
    """Of each group; empty for slots."""
    slots: SlotTables | None
    """Of recurrent states; None: the graph has none."""


def check_batch(batch: Batch, plan: Plan, sizes: tuple[int, ...]) -> CheckedBatch:
    """A copy of the batch, every index of which is in range; `sizes` has the number of pages of each group.

    `ContextOverflowError` for more rows or a later index than planned, `ShapeError` for other faults.
    """
    options = plan.options
    tokens, index = _vector(batch.tokens, "tokens"), _vector(batch.index, "index")
    sequences, wanted = _vector(batch.sequences, "sequences"), _vector(batch.output_rows, "output_rows")
    ends = None if batch.ends is None else _vector(batch.ends, "ends")
    count = len(tokens)
    if not count or len(index) != count or len(sequences) != count:
        raise ShapeError(
            f"batch: {count} tokens, {len(index)} indices, {len(sequences)} sequences; "
            "the three arrays must have the same length, at least one"
        )
    if max(count, len(wanted)) > options.batch:
        raise ContextOverflowError(
            f"batch: {count} tokens and {len(wanted)} output rows, but options.batch is {options.batch}"
        )
    embeddings, replaced = _embeddings(batch.embeddings, tokens, plan.graph.input_width)
    known = tokens if replaced is None else np.where(replaced < 0, tokens, 0)
    _within(known, plan.vocabulary, "token id")
    _within(wanted, count, "output row")
    if unsigned_peak(index) >= options.context:
        if index.min() < 0:
            raise ShapeError(f"batch: index {index.min()} is negative")
        raise ContextOverflowError(f"batch: index {index.max()} in a context of {options.context}")
    if ends is not None:
        _check_ends(ends, index, options.context)
    if len(batch.groups) != len(sizes):
        raise ShapeError(f"batch: {len(batch.groups)} groups, but the graph has {len(sizes)}")
    positions, section_rows = _positions(batch, index, plan.sections)
    if plan.graph.position_limit is not None:
        _within(positions.reshape(-1)[:count], plan.graph.position_limit, "position")
    types = None if batch.types is None else _vector(batch.types, "types")
    if types is not None:
        if len(types) != count:
            raise ShapeError(f"batch: {len(types)} types for {count} rows")
        _within(types, plan.graph.type_limit, "type")
    extents = Extents(sequences, index, ends)
    tables: list[Tables] = []
    slots: SlotTables | None = None
    for places, group, size in zip(batch.groups, plan.graph.groups, sizes, strict=True):
        if group.recurrent:
            slots = slots_of(places, extents, count, size)
            tables.append(NO_TABLES)
        else:
            tables.append(tables_of(places, group.window, extents, options.page, size))
    if plan.graph.whole_sequences:
        tables.append(rows_of_whole(extents))
    return CheckedBatch(
        tokens=tokens,
        sequences=sequences,
        index=index,
        ends=ends,
        positions=positions,
        section_rows=section_rows,
        types=types,
        replaced=replaced,
        embeddings=embeddings,
        wanted=wanted,
        tables=tables,
        slots=slots,
    )


def check_pairs(group: int, pairs: Sequence[tuple[int, int]], sizes: tuple[int, ...]) -> Ints:
    """The pairs as int32 `[pairs, 2]`. `ShapeError` for a group, a page or a slot out of range."""
    if not 0 <= group < len(sizes):
        raise ShapeError(f"copy: group {group}, but the graph has {len(sizes)} groups of states")
    for source, target in pairs:
        if not (0 <= source < sizes[group] and 0 <= target < sizes[group]):
            raise ShapeError(
                f"copy: from {source} to {target}, but those of group {group} are 0..{sizes[group] - 1}"
            )
    return np.array(pairs, np.int32).reshape(-1, 2)


def _vector(array: object, name: str) -> Ints:
    if not isinstance(array, np.ndarray) or array.dtype != np.int32 or array.ndim != 1:
        raise ShapeError(f"batch: {name} must be a one-dimensional int32 array")
    return np.array(array, order="C")


def _embeddings(
    given: object, tokens: Ints, width: int | None
) -> tuple[NDArray[np.float32] | None, Ints | None]:
    """A copy of the rows in place of tokens, and for each row of the batch the one in its place, or -1."""
    if given is None:
        return None, None
    rows = np.array(given, order="C") if isinstance(given, np.ndarray) else given
    check_embeddings(rows, tokens, width)
    assert isinstance(rows, np.ndarray)
    in_place = tokens == IN_PLACE
    return rows, np.where(in_place, np.cumsum(in_place) - 1, -1).astype(np.int32)


def _within(array: Ints, end: int, name: str) -> None:
    if unsigned_peak(array) >= end and array.size:
        wrong = array[(array < 0) | (array >= end)][0]
        raise ShapeError(f"batch: {name} {wrong} is outside 0..{end - 1}")


def _check_ends(ends: Ints, index: Ints, context: int) -> None:
    if len(ends) != len(index):
        raise ShapeError(f"batch: {len(ends)} ends for {len(index)} rows")
    if ends.max() > context:
        raise ContextOverflowError(f"batch: an end of {ends.max()} in a context of {context}")
    if ends.min() < 1:
        row = int(ends.argmin())
        raise ShapeError(f"batch: row {row} (index {index[row]}) sees nothing: its end is {ends[row]}")


def _positions(batch: Batch, index: Ints, sections: int) -> tuple[Ints, int]:
    """The positions for RoPE, `[sections, rows]`, and the numbers from one section to the next."""
    if batch.positions is None:
        return index, 0
    given: object = batch.positions
    if not isinstance(given, np.ndarray) or given.dtype != np.int32 or given.ndim != 2:
        raise ShapeError("batch: positions must be a two-dimensional int32 array")
    if given.shape[1] != len(index) or given.shape[0] < sections:
        raise ShapeError(
            f"batch: positions have shape {given.shape}, not {sections} sections of {len(index)} rows"
        )
    return np.array(given, order="C"), len(index)
