"""Lowering of RoPE and attention."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.graph import TOKENS
from zigai_core.ops.operations import Attention, Rope
from zigai_kernels.recorder import MOST_HEADS, Recorder
from zigai_kernels.records import Record
from zigai_kernels.stages import cache_name

PAIRINGS = {"adjacent": "ADJACENT", "half": "HALF"}

MOST_WINDOW = 1 << 30
"""A window or chunk from this size on has no effect, because no context is longer (`check_options`)."""

MOST_HEAD_WIDTH = 1 << 16
"""Largest number of elements of a head: C computes sizes of blocks of keys or values in 32 bits."""


def lower_rope(to: Recorder, op: Rope) -> None:
    """Record RoPE, and its table of cosines and sines if there is none yet. `ShapeError` for misfits."""
    to.same_width(op, op.x)
    frequencies = np.ascontiguousarray(op.frequencies, dtype=np.float32)
    pairs = frequencies.size
    to.need(op, op.output.rows == TOKENS, "its output must have a row for each token")
    to.need(
        op,
        frequencies.ndim == 1 and op.head_dim > 0 and 0 < 2 * pairs <= op.head_dim,
        f"{frequencies.shape} frequencies do not fit heads of {op.head_dim}",
    )
    to.need(
        op,
        op.x.width % op.head_dim == 0,
        f"a width of {op.x.width} is not a multiple of the head width {op.head_dim}",
    )
    table = _table(to, frequencies, op.magnitude)
    numbers = {"inner": pairs, "head_dim": op.head_dim}
    to.emit(op, "ROPE", op.x, table, mode=PAIRINGS[op.pairing], numbers=numbers)


def _table(to: Recorder, frequencies: NDArray[np.float32], magnitude: float) -> str:
    """The name of the table of cosines and sines for these frequencies, which is computed once per step."""
    for record in to.records:
        if (
            record.operation == "ROPE_TABLE"
            and np.array_equal(np.asarray(record.weight), frequencies)
            and record.numbers["factor"] == magnitude
        ):
            return record.output
    name = f"rope table {len(to.tables)}"
    pairs = frequencies.size
    to.tables[name] = 2 * pairs
    numbers = {"inner": pairs, "factor": magnitude}
    to.records.append(Record("ROPE_TABLE", name, width=2 * pairs, weight=frequencies.copy(), numbers=numbers))
    return name


def lower_attention(to: Recorder, op: Attention) -> None:
    """Record the store of keys and values in the layer's cache, and the attention over it.

    `ShapeError` for attributes that `Attention.fault` names, and sizes outside what C can compute with.
    """
    wrong = op.fault()
    to.need(op, wrong is None, str(wrong))
    to.need(op, op.heads <= MOST_HEADS, f"more than {MOST_HEADS} heads")
    widest = max(op.key_dim, op.value_dim)
    to.need(op, widest <= MOST_HEAD_WIDTH, f"its heads are {widest} wide, more than {MOST_HEAD_WIDTH}")
    to.need(op, op.layer not in to.layers, f"layer {op.layer}'s cache is used by another attention")
    to.layers.add(op.layer)
    shape = {
        "heads": op.heads,
        "kv_heads": op.kv_heads,
        "head_dim": op.key_dim,
        "value_dim": op.value_dim,
    }
    to.records.append(
        Record(
            "STORE",
            cache_name(op.layer),
            op.key.name,
            op.value.name,
            TOKENS,
            op.key.width,
            storage=to.kv_dtype,
            numbers=shape,
            cache=op.cache,
        )
    )
    limits = {"window": op.window, "chunk": op.chunk}
    seen = {name: limit for name, limit in limits.items() if limit is not None and limit < MOST_WINDOW}
    to.emit(
        op,
        "ATTENTION",
        op.query,
        weight=None if op.sinks is None else to.vector(op, op.sinks, op.heads, "sinks"),
        bias=None if op.slopes is None else np.array(op.slopes, np.float32),
        storage=to.kv_dtype,
        numbers=shape | seen | {"factor": op.scale, "cap": op.soft_cap or 0.0},
        cache=op.cache,
    )
