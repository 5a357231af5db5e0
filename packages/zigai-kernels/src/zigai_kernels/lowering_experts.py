"""Lowering of routing and of mixtures of experts."""

from __future__ import annotations

from zigai_core.contracts.graph import Value, Weight
from zigai_core.ops.operations import Experts, Route
from zigai_kernels.packing import pack_panels, pack_vector
from zigai_kernels.recorder import MOST_HEADS, MOST_WIDTH, Recorder, gating
from zigai_kernels.records import Record

ROUTES = {"softmax": "SOFTMAX", "sigmoid": "SIGMOID", "softmax_chosen": "SOFTMAX_CHOSEN"}


def lower_route(to: Recorder, op: Route) -> None:
    """Record the computation of experts' shares from their scores. `ShapeError` for misfits."""
    to.need_sound(op, op.fault())
    to.need(op, op.output.width <= MOST_HEADS, f"more than {MOST_HEADS} experts")
    numbers = {
        "used": op.used,
        "groups": op.groups,
        "groups_used": op.groups_used,
        "group_best": op.group_best,
        "renormalise": int(op.renormalise),
        "factor": op.scale,
        "offset": op.epsilon,
    }
    bias = None if op.bias is None else to.vector(op, op.bias, op.output.width, "bias")
    to.emit(op, "ROUTE", op.scores, bias=bias, mode=ROUTES[op.kind], numbers=numbers)


def lower_experts(to: Recorder, op: Experts) -> None:
    """Record a mixture of experts: choice, grouping of rows by expert, products, activation and weighted sum.

    `ShapeError` for attributes that `Experts.fault` names, and sizes outside what C can compute with.
    """
    experts, used = op.shares.width, op.used
    hidden = op.gate.shape[1] if len(op.gate.shape) == 3 else 0
    to.same_width(op, op.x)
    to.need_sound(op, op.fault())
    most = max(hidden, op.x.width) * experts
    inside = hidden > 0 and most <= MOST_WIDTH and experts <= MOST_HEADS
    to.need(op, inside, f"{experts} experts of width {hidden} are outside the supported sizes")
    name, rows, routing = op.output.name, op.output.rows, {"used": used}
    emit = to.records.append

    def value(part: str, width: int) -> Value:
        to.tables[f"{name} {part}"] = width * used
        return Value(f"{name} {part}", width, rows)

    chosen, groups = value("chosen", 2), value("groups", 1)
    of_experts = routing | {"inner": experts}
    emit(Record("CHOOSE", chosen.name, op.shares.name, None, rows, 2 * used, numbers=of_experts))
    emit(Record("GROUP", groups.name, chosen.name, None, rows, experts, numbers=routing))
    to.experts[groups.name] = experts

    def linear(x: Value, weight: Weight, bias: Weight | None, part: str, width: int, *, many: bool) -> Value:
        tensor = to.tensor(op, weight, (experts, width, x.width))
        packing = to.use(tensor, "experts", lambda: pack_panels(tensor, "experts"))
        added = None
        if bias is not None:
            vectors = to.tensor(op, bias, (experts, width))
            added = to.use(vectors, "bias", lambda: pack_vector(vectors, "bias"))
        out = value(part, width)
        emit(
            Record(
                "EXPERT_LINEAR",
                out.name,
                to.as_read_by(packing, x, used if many else 1),
                groups.name,
                rows,
                width,
                weight=packing,
                bias=added,
                storage=packing.storage.name,
                mode="TRUE" if many else None,
                numbers=routing | {"inner": x.width, "heads": experts},
            )
        )
        return out

    x, weighted = op.x, op.weighted_input
    repeated: dict[str, float] = {"repeat": used}
    if weighted:
        x = value("input", op.x.width)
        each = routing | repeated
        emit(Record("WEIGH", x.name, op.x.name, chosen.name, rows, x.width, numbers=each))
    gate = linear(x, op.gate, op.gate_bias, "gate", hidden, many=weighted)
    up = linear(x, op.up, op.up_bias, "up", hidden, many=weighted)
    middle = value("hidden", hidden)
    code, mode, clamp = gating(op)
    numbers = clamp | repeated
    emit(Record(code, middle.name, gate.name, up.name, rows, hidden, mode=mode, numbers=numbers))
    parts = linear(middle, op.down, op.down_bias, "parts", op.output.width, many=True)
    to.emit(op, "COMBINE", parts, chosen, mode="TRUE" if weighted else None, numbers=routing)
