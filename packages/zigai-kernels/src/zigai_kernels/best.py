"""The k largest logits of a row, computed in C."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.best import Best, Edits, check_best, shortened
from zigai_core.contracts.graph import Array

LOGITS, PANEL_LOGITS, MOST_BLOCKS = 64, 256, 512
"""Logits of a block in C, without and with `peaks`, and the most best ones that are looked for by blocks."""


def best(
    ffi: Any,
    lib: Any,
    row: Array,
    k: int,
    edits: Edits | None = None,
    mask: NDArray[np.uint32] | None = None,
    *,
    width: int | None = None,
    peaks: Array | None = None,
) -> Best:
    """The same as `zigai_core.contracts.best.best`, in one vectorised pass over the row.

    With `peaks`, the largest logit of each panel of the row as a step finds them (NaN if one is not finite),
    the pass is over these, and most logits are not read.
    """
    row = shortened(row, width)
    check_best(row, k, edits, mask)
    k = min(k, len(row))
    block = LOGITS if peaks is None else PANEL_LOGITS
    room = max(2 * k + 1024, len(row) // block + 1 + block * k if k <= MOST_BLOCKS else 0)
    keys = np.empty(room, np.uint64)
    ids = np.empty(k, np.int32)
    logits = np.empty(k, np.float32)
    damaged = ffi.new("int64_t *")
    row = np.ascontiguousarray(row)
    edited, values = (None, None) if edits is None else map(np.ascontiguousarray, edits)
    if mask is not None:
        mask = np.ascontiguousarray(mask)
    count = lib.zg_best(
        ffi.from_buffer("float[]", row),
        len(row),
        ffi.NULL if peaks is None else ffi.from_buffer("float[]", peaks),
        k,
        ffi.NULL if edited is None else ffi.from_buffer("int32_t[]", edited),
        ffi.NULL if values is None else ffi.from_buffer("float[]", values),
        0 if edited is None else len(edited),
        ffi.NULL if mask is None else ffi.from_buffer("uint32_t[]", mask),
        ffi.from_buffer("uint64_t[]", keys),
        room,
        ffi.from_buffer("int32_t[]", ids),
        ffi.from_buffer("float[]", logits),
        damaged,
    )
    return Best(ids[:count], logits[:count], None if damaged[0] < 0 else int(damaged[0]))
