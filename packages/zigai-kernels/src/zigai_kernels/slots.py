"""The slots of a step: which states it reads and writes, checked, in the order that C goes through them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Slots
from zigai_core.contracts.errors import ShapeError
from zigai_core.ops.batch_checks import check_slots
from zigai_kernels.tables import Extents

Ints = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class SlotTables:
    """Int32 arrays as C reads them: see `zg_slots` in api.h."""

    starts: Ints
    rows: Ints
    reads: Ints
    write_starts: Ints
    writes: Ints


def slots_of(places: object, extents: Extents, rows: int, size: int) -> SlotTables:
    """The slots of a step of `rows` rows; `size` is the number of the group's slots.

    `ShapeError` for slots that do not fit: see `check_slots`.
    """
    if not isinstance(places, Slots):
        raise ShapeError("batch: a group of recurrent states needs Slots")
    given = Slots(np.array(places.reads), np.array(places.writes))  # no other thread can change the copies
    check_slots(given, int(extents.present[-1]), rows, size)
    order = extents.order
    places_of = given.writes[:, 0] if order is None else np.argsort(order)[given.writes[:, 0]]
    sorting = np.argsort(places_of, kind="stable")
    counts = np.bincount(places_of, minlength=rows)
    return SlotTables(
        starts=np.append(extents.starts, rows).astype(np.int32),
        rows=np.arange(rows, dtype=np.int32) if order is None else order.astype(np.int32),
        reads=given.reads[extents.present],
        write_starts=np.append(0, np.cumsum(counts)).astype(np.int32),
        writes=given.writes[sorting, 1],
    )
