"""Which records run together, with no waiting between them.

All threads wait for each other at the end of a stage, and that takes longer than most operations on one
token's row. So a stage holds as much as does not need it: operations of which each computes a row from the
same row of what it reads, done row by row, or products that do not read each other, done side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zigai_kernels.records import Record

SIDE_BY_SIDE = frozenset({"LINEAR", "EXPERT_LINEAR"})

NOT_BY_ROWS = SIDE_BY_SIDE | {"ATTENTION", "GROUP"}

LOOK_AHEAD = 16
"""Records after the first of a stage that may join it: those of a layer's half."""


@dataclass(frozen=True, eq=False)
class Stage:
    """Records between two waits."""

    records: tuple[Record, ...]
    by_rows: bool
    """Each chunk is some rows, and takes them through all records; else each record has chunks of its own."""


def cut_stages(records: Sequence[Record], *, fused: bool = True) -> tuple[Stage, ...]:
    """The records in stages, each after those it reads from; not `fused`, each is a stage of its own."""
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
    """Whether the two are of a kind that one stage can hold."""
    if first.operation in NOT_BY_ROWS:
        return first.operation in SIDE_BY_SIDE and record.operation == first.operation
    return record.operation not in NOT_BY_ROWS and _rows(record) == _rows(first)


def _rows(record: Record) -> tuple[str, float]:
    return record.rows, record.numbers.get("repeat", 1)


def _reads(record: Record) -> list[str]:
    """What must have been computed before: values, and for attention its layer's cache."""
    names = [name for name in (record.x, record.y) if name is not None]
    if record.operation == "ATTENTION" and record.cache is not None:
        names.append(cache_name(record.cache.layer))
    return names


def cache_name(layer: int) -> str:
    """The name under which storing to a layer's cache is known."""
    return f"cache of layer {layer}"
