"""Stages: records that run without a barrier between them.

The barrier at the end of a stage takes longer than most operations on one token's row. So a stage holds
either operations that compute each row from the same row of their inputs, which run row by row, or matrix
products that do not read each other, which run in parallel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zigai_kernels.records import RECURRENT, Record

SIDE_BY_SIDE = frozenset({"LINEAR", "EXPERT_LINEAR", "HEAD_LINEAR"})
"""Operations of which several may share a stage, each with chunks of its own."""

NOT_BY_ROWS = SIDE_BY_SIDE | RECURRENT | {"ATTENTION", "GROUP"}
"""Operations that have a `chunks` function in C: a chunk is not one row."""

LOOK_AHEAD = 16
"""How many pending records are searched for a stage, its first one included: about half a layer."""


@dataclass(frozen=True, eq=False)
class Stage:
    """Records between two barriers."""

    records: tuple[Record, ...]
    by_rows: bool
    """True: a chunk runs all records on a few rows. False: each record has chunks of its own."""


def cut_stages(records: Sequence[Record], *, fused: bool = True) -> tuple[Stage, ...]:
    """Group records into stages, each record after the ones it reads. `fused=False`: a stage per record."""
    pending = list(records)
    to_come = {record.output for record in pending}
    stages: list[Stage] = []
    while pending:
        first = pending[0]
        by_rows = first.operation not in NOT_BY_ROWS
        taken = [first]
        inside = {first.output} if by_rows else set[str]()
        for record in pending[1:LOOK_AHEAD] if fused else ():
            if _joins(record, first) and all(n not in to_come or n in inside for n in _reads(record)):
                taken.append(record)
                if by_rows:
                    inside.add(record.output)
        near = [record for record in pending[:LOOK_AHEAD] if record not in taken]
        pending[:LOOK_AHEAD] = near
        to_come.difference_update(record.output for record in taken)
        stages.append(Stage(tuple(taken), by_rows))
    return tuple(stages)


def _joins(record: Record, first: Record) -> bool:
    """True if one stage can hold records of these two kinds."""
    if first.operation in NOT_BY_ROWS:
        return first.operation in SIDE_BY_SIDE and record.operation == first.operation
    return record.operation not in NOT_BY_ROWS and _rows(record) == _rows(first)


def _rows(record: Record) -> tuple[str, float]:
    return record.rows, record.numbers.get("repeat", 1)


def _reads(record: Record) -> list[str]:
    """The outputs of the records that must have run before."""
    return [*record.operands, *(() if record.after is None else (record.after,))]
