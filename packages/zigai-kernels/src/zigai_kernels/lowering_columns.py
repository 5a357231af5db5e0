"""Lowering of arithmetic with vectors, of positions and types, and of matrices of heads."""

from __future__ import annotations

from zigai_core.contracts.graph import TOKENS, Value
from zigai_core.ops.operations import (
    ColumnScale,
    ColumnShift,
    Concat,
    HeadLinear,
    PositionEmbedding,
    PositionScale,
    TypeEmbedding,
)
from zigai_kernels.packing import pack_panels, pack_rows
from zigai_kernels.recorder import MOST_HEADS, Recorder
from zigai_kernels.records import Record


def lower_column_scale(to: Recorder, op: ColumnScale) -> None:
    """Record a product with a vector. `ShapeError` for misfits."""
    to.same_width(op, op.x)
    to.emit(op, "COLUMN_SCALE", op.x, weight=to.vector(op, op.weight, op.x.width, "column"))


def lower_column_shift(to: Recorder, op: ColumnShift) -> None:
    """Record the sum with a vector, or with a row of a matrix, which is read as it is stored.

    `ShapeError` for misfits.
    """
    to.same_width(op, op.x)
    to.need_sound(op, op.fault())
    if len(op.weight.shape) == 1:
        to.emit(op, "COLUMN_SHIFT", op.x, weight=to.vector(op, op.weight, op.x.width, "column"))
        return
    tensor = to.tensor(op, op.weight, (op.weight.shape[0], op.x.width))
    packing = to.use(tensor, "embedding", lambda: pack_rows(tensor))
    row = f"{op.output.name} row"
    to.tables[row] = op.x.width
    to.records.append(
        Record(
            "EMBEDDING",
            row,
            rows=op.output.rows,
            width=op.x.width,
            weight=packing,
            storage=packing.storage.name,
            mode="OF_START",
            numbers={"start": op.row},
        )
    )
    to.emit(op, "ADD", op.x, row)


def lower_lookup(to: Recorder, op: PositionEmbedding | TypeEmbedding) -> None:
    """Record the lookup of rows by position or by type. `ShapeError` for misfits."""
    to.need_sound(op, op.fault())
    tensor = to.tensor(op, op.weight, (op.weight.shape[0], op.output.width))
    packing = to.use(tensor, "embedding", lambda: pack_rows(tensor))
    mode = "OF_TYPE" if isinstance(op, TypeEmbedding) else "OF_POSITION"
    to.emit(op, "EMBEDDING", weight=packing, storage=packing.storage.name, mode=mode)


def lower_position_scale(to: Recorder, op: PositionScale) -> None:
    """Record the scale by position. `ShapeError` for misfits."""
    to.need_sound(op, op.fault())
    to.same_width(op, op.x)
    to.need(op, op.output.rows == TOKENS, "its output must have a row for each token")
    numbers = {"inner": op.length, "start": op.offset, "factor": op.factor}
    to.emit(op, "POSITION_SCALE", op.x, numbers=numbers)


def lower_concat(to: Recorder, op: Concat) -> None:
    """Record the joint groups. `ShapeError` for misfits."""
    to.need_sound(op, op.fault())
    numbers = {"inner": op.a.width, "groups": op.groups}
    to.emit(op, "CONCAT", op.a, op.b, mode="TRUE" if op.shared else None, numbers=numbers)


def lower_head_linear(to: Recorder, op: HeadLinear) -> None:
    """Record the products of heads, and their quantisation: each head is a row of its own there.

    `ShapeError` for misfits, and for sizes outside what C can compute with.
    """
    to.need_sound(op, op.fault())
    heads, outputs, inputs = op.weight.shape
    to.need(op, heads <= MOST_HEADS, f"more than {MOST_HEADS} heads")
    tensor = to.tensor(op, op.weight, (heads, outputs, inputs))
    packing = to.use(tensor, "head_linear", lambda: pack_panels(tensor, "head_linear"))
    head = Value(op.x.name, inputs, op.x.rows)
    to.records.append(
        Record(
            "HEAD_LINEAR",
            op.output.name,
            to.as_read_by(packing, head, heads, f" of {heads} heads"),
            None,
            op.output.rows,
            outputs,
            weight=packing,
            storage=packing.storage.name,
            numbers={"inner": inputs, "heads": heads},
        )
    )
