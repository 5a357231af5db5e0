"""Lowering of RoPE and attention."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.graph import TOKENS
from zigai_core.contracts.state import State
from zigai_core.ops.operations import Attention, Rope
from zigai_kernels.recorder import MOST_HEADS, Recorder
from zigai_kernels.records import Record

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
    to.need_sound(op, op.fault())
    table = _table(to, frequencies, op.magnitude, op.sections)
    numbers = {"inner": pairs, "head_dim": op.head_dim}
    to.emit(op, "ROPE", op.x, table, mode=PAIRINGS[op.pairing], numbers=numbers)


def _table(
    to: Recorder,
    frequencies: NDArray[np.float32],
    magnitude: float,
    sections: NDArray[np.int32] | None,
) -> str:
    """The name of the table of cosines and sines for these frequencies, which is computed once per step."""
    if sections is not None and not sections.any():
        sections = None
    for record in to.records:
        if (
            record.operation == "ROPE_TABLE"
            and np.array_equal(np.asarray(record.weight), frequencies)
            and record.numbers["factor"] == magnitude
            and (record.sections is None) == (sections is None)
            and (sections is None or np.array_equal(np.asarray(record.sections), sections))
        ):
            return record.output
    name = f"rope table {len(to.tables)}"
    pairs = frequencies.size
    to.tables[name] = 2 * pairs
    if sections is not None:
        sections = np.array(sections, order="C")
        to.sections = max(to.sections, int(sections.max()) + 1)
    to.records.append(
        Record(
            "ROPE_TABLE",
            name,
            width=2 * pairs,
            weight=frequencies.copy(),
            numbers={"inner": pairs, "factor": magnitude},
            sections=sections,
        )
    )
    return name


def lower_attention(to: Recorder, op: Attention) -> None:
    """Record the attention, and before it the store of keys and values if they go into a cache.

    `ShapeError` for attributes that `Attention.fault` names, for sizes outside what C can compute with, and
    for a state that two operations write or that none has written before.
    """
    to.need_sound(op, op.fault())
    to.need(op, op.heads <= MOST_HEADS, f"more than {MOST_HEADS} heads")
    widest = max(op.key_dim, op.value_dim)
    to.need(op, widest <= MOST_HEAD_WIDTH, f"its heads are {widest} wide, more than {MOST_HEAD_WIDTH}")
    shape = {
        "heads": op.heads,
        "kv_heads": op.kv_heads,
        "head_dim": op.key_dim,
        "value_dim": op.value_dim,
    }
    limits = {"window": op.window, "chunk": op.chunk}
    seen = {name: limit for name, limit in limits.items() if limit is not None and limit < MOST_WINDOW}
    to.emit(
        op,
        "ATTENTION",
        op.query,
        weight=None if op.sinks is None else to.vector(op, op.sinks, op.heads, "sinks"),
        bias=None if op.slopes is None else np.array(op.slopes, np.float32),
        numbers=shape | seen | {"factor": op.scale, "cap": op.soft_cap or 0.0},
        **(_of_step(op) if op.state is None else _of_cache(to, op, op.state, shape)),
    )


def _of_step(op: Attention) -> dict[str, Any]:
    """What ATTENTION reads the step's own keys and values by."""
    values = () if op.value is None else (op.value.name,)
    return {"y": op.key, "more": values, "storage": "F32", "mode": "TRUE"}


def _of_cache(to: Recorder, op: Attention, state: State, shape: dict[str, int]) -> dict[str, Any]:
    """What ATTENTION reads a cache by, after the STORE record that writes it, which may be its own."""
    if op.key is None:
        to.need(op, state.name in to.stored, f"no operation before it writes its state {state.name}")
    else:
        to.need(op, state.name not in to.stored, f"its state {state.name} is written by another operation")
        to.stored[state.name] = f"cache {state.name}"
        to.records.append(
            Record(
                "STORE",
                to.stored[state.name],
                op.key.name,
                None if op.value is None else op.value.name,
                TOKENS,
                op.key.width,
                storage=to.kv_dtype,
                mode=None if op.value is not None else "TRUE",
                numbers=shape,
                state=state,
            )
        )
    return {"storage": to.kv_dtype, "state": state, "after": to.stored[state.name]}
