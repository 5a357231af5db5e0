"""Lowering of operations with a recurrent state."""

from __future__ import annotations

from zigai_core.contracts.graph import Weight
from zigai_core.contracts.state import State
from zigai_core.ops.operations import GatedDelta, SelectiveScan, ShortConv
from zigai_kernels.packing import Packing, pack_vector
from zigai_kernels.recorder import Recorder

ORDERS = {"grouped": "GROUPED", "tiled": "TILED"}

MOST_TAPS = 1 << 12
MOST_ROWS = 1 << 16
"""Largest widths of a filter, and of a key or the state of a channel: each thread has memory for a block."""

Op = ShortConv | GatedDelta | SelectiveScan


def lower_recurrent(to: Recorder, op: Op) -> None:
    """Record an operation with a recurrent state.

    `ShapeError` for attributes that its `fault` names, for sizes outside what C can compute with, and for a
    state that another operation uses.
    """
    to.need_sound(op, op.fault())
    state = op.state
    to.need(op, state.name not in to.recurrent, f"its state {state.name} is used by another operation")
    to.recurrent.add(state.name)
    match op:
        case ShortConv():
            _short_conv(to, op, state)
        case GatedDelta():
            _gated_delta(to, op, state)
        case SelectiveScan():
            _selective_scan(to, op, state)


def _floats(to: Recorder, op: Op, weight: Weight | None, kernel: str) -> Packing | None:
    """The packing of a small tensor as float32 numbers in their order."""
    if weight is None:
        return None
    tensor = to.tensor(op, weight, weight.shape)
    return to.use(tensor, kernel, lambda: pack_vector(tensor, kernel))


def _short_conv(to: Recorder, op: ShortConv, state: State) -> None:
    taps = op.weight.shape[1]
    to.need(op, taps <= MOST_TAPS, f"its filters have {taps} taps, more than {MOST_TAPS}")
    to.emit(
        op,
        "SHORT_CONV",
        op.x,
        weight=_floats(to, op, op.weight, "filters"),
        bias=_floats(to, op, op.bias, "bias"),
        numbers={"inner": taps},
        state=state,
    )


def _gated_delta(to: Recorder, op: GatedDelta, state: State) -> None:
    to.need(op, op.key_dim <= MOST_ROWS, f"its keys are {op.key_dim} wide, more than {MOST_ROWS}")
    sizes = {"heads": op.heads, "groups": op.key_heads, "head_dim": op.key_dim, "value_dim": op.value_dim}
    to.emit(
        op,
        "GATED_DELTA",
        op.q,
        op.k,
        more=(op.v.name, op.decay.name, op.beta.name),
        mode=ORDERS[op.order],
        numbers=sizes | {"factor": op.scale},
        state=state,
    )


def _selective_scan(to: Recorder, op: SelectiveScan, state: State) -> None:
    size = op.state_size
    to.need(op, size <= MOST_ROWS, f"its states have {size} numbers a channel, more than {MOST_ROWS}")
    to.emit(
        op,
        "SELECTIVE_SCAN",
        op.x,
        op.step,
        more=(op.b.name, op.c.name),
        weight=_floats(to, op, op.a, "decays"),
        bias=_floats(to, op, op.d, "direct"),
        mode="TRUE" if op.a.shape == (op.heads, size) and size > 1 else None,
        numbers={"heads": op.heads, "groups": op.groups, "head_dim": size, "value_dim": op.head_dim},
        state=state,
    )
