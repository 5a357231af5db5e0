"""A mixture of experts as records."""

from __future__ import annotations

from zigai_core.contracts.graph import Value, Weight
from zigai_core.ops.operations import MixtureOfExperts
from zigai_kernels.packing import pack_panels
from zigai_kernels.recorder import ACTIVATIONS, MOST_HEADS, MOST_WIDTH, Recorder
from zigai_kernels.records import Record


def lower_experts(to: Recorder, op: MixtureOfExperts) -> None:
    """Route rows, group them by expert, three products with each expert's matrices, and combine."""
    experts, used = op.scores.width, op.used
    hidden = op.gate.shape[1] if len(op.gate.shape) == 3 else 0
    to.same_width(op, op.x)
    to.need(op, 1 <= used <= experts, f"{used} of {experts} experts are used")
    most = max(hidden, op.x.width) * experts
    inside = hidden > 0 and most <= MOST_WIDTH and experts <= MOST_HEADS
    to.need(op, inside, f"{experts} experts of {hidden}")
    name, rows, routing = op.output.name, op.output.rows, {"used": used}

    def value(part: str, width: int) -> Value:
        to.tables[f"{name} {part}"] = width * used
        return Value(f"{name} {part}", width, rows)

    route, groups = value("route", 2), value("groups", 1)
    mode = "TRUE" if op.renormalise else None
    emit = to.records.append
    emit(Record("ROUTE", route.name, op.scores.name, None, rows, experts, mode=mode, numbers=routing))
    emit(Record("GROUP", groups.name, route.name, None, rows, experts, numbers=routing))
    to.experts[groups.name] = experts

    def linear(x: Value, weight: Weight, part: str, width: int, *, many: bool) -> Value:
        tensor = to.tensor(op, weight, (experts, width, x.width))
        packing = to.use(tensor, "experts", lambda: pack_panels(tensor, "experts"))
        out = value(part, width)
        numbers = routing | {"inner": x.width, "heads": experts}
        emit(
            Record(
                "EXPERT_LINEAR",
                out.name,
                to.as_read_by(tensor, x, used if many else 1),
                groups.name,
                rows,
                width,
                weight=packing,
                storage=tensor.dtype.name,
                mode="TRUE" if many else None,
                numbers=numbers,
            )
        )
        return out

    gate = linear(op.x, op.gate, "gate", hidden, many=False)
    up = linear(op.x, op.up, "up", hidden, many=False)
    inner = value("hidden", hidden)
    mode = ACTIVATIONS[op.activation]
    numbers = {"repeat": used}
    emit(Record("GATED", inner.name, gate.name, up.name, rows, hidden, mode=mode, numbers=numbers))
    parts = linear(inner, op.down, "parts", op.output.width, many=True)
    to.emit(op, "COMBINE", parts, route, numbers=routing)
