"""Lowering: a graph becomes the flat list of records that the C code runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import TOKENS, WANTED, Graph, Operation
from zigai_core.ops.operations import (
    Add,
    Attention,
    Columns,
    ColumnScale,
    ColumnShift,
    Concat,
    Embedding,
    Experts,
    GatedActivation,
    GatedDelta,
    GaussianCut,
    HeadLinear,
    Inputs,
    L2Norm,
    LayerNorm,
    Linear,
    MatchMagnitude,
    MixStreams,
    Multiply,
    Pool,
    PositionEmbedding,
    PositionScale,
    RMSNorm,
    Rope,
    Route,
    Scale,
    Select,
    SelectiveScan,
    ShortConv,
    SigmoidGate,
    SoftCap,
    TypeEmbedding,
    Unary,
)
from zigai_kernels.lowering_attention import PAIRINGS, lower_attention, lower_rope
from zigai_kernels.lowering_columns import (
    lower_column_scale,
    lower_column_shift,
    lower_concat,
    lower_head_linear,
    lower_lookup,
    lower_position_scale,
)
from zigai_kernels.lowering_experts import ROUTES, lower_experts, lower_route
from zigai_kernels.lowering_recurrent import lower_recurrent
from zigai_kernels.lowering_streams import lower_streams
from zigai_kernels.packing import Packing, pack_panels, pack_rows, pack_vector
from zigai_kernels.recorder import ACTIVATIONS, MOST_WIDTH, UNARY, Recorder, gating
from zigai_kernels.records import Record
from zigai_kernels.stages import Stage, cut_stages
from zigai_kernels.storage import storage_of

SERVED = (
    *(Embedding, Linear, RMSNorm, LayerNorm, Rope, Attention, Route, Experts),
    *(GatedActivation, SigmoidGate, Add, Multiply, Scale, SoftCap, Columns, Select, Pool),
    *(Unary, L2Norm, ColumnScale, ColumnShift, PositionEmbedding, PositionScale, TypeEmbedding),
    *(HeadLinear, Concat, Inputs),
    *(ShortConv, GatedDelta, SelectiveScan),
    *(MixStreams, MatchMagnitude, GaussianCut),
)


@dataclass(frozen=True, eq=False)
class Lowered:
    """A lowered graph: records in stages, and the sizes of the values that they name."""

    stages: tuple[Stage, ...]
    widths: Mapping[str, int]
    """float32 elements in a row of each value and table, by name."""
    quantised: Mapping[str, tuple[str, int, int]]
    """By the name of a quantised value: a storage type of the weights that read it, elements in a row, and
    rows for each row of the step."""
    experts: Mapping[str, int]
    """By the name of the output of a GROUP record: the number of experts."""
    packings: Mapping[str, tuple[Packing, ...]]
    """By the name of a tensor: its layout for each kernel that reads it."""
    vocabulary: int
    """Token ids must be below this."""
    sections: int
    """The number of sections of positions that the graph reads."""

    @property
    def records(self) -> list[Record]:
        """The records of all stages, in order."""
        return [record for stage in self.stages for record in stage.records]

    @property
    def routes(self) -> list[int]:
        """The number of experts of each ROUTE record."""
        return [record.width for record in self.records if record.operation == "ROUTE"]


def missing_kernels(graph: Graph, weights: Mapping[str, TensorInfo]) -> list[str]:
    """Each operation, or (operation, storage type), without a kernel, once, with its first use."""
    found: dict[str, str] = {}
    for operation in graph:
        what = type(operation).__name__
        if type(operation) not in SERVED:
            found.setdefault(what, f"operation {what} ({operation.output.name})")
            continue
        if isinstance(operation, (GatedActivation, Experts)) and operation.activation not in ACTIVATIONS:
            found.setdefault(operation.activation, f"{what} with activation {operation.activation!r}")
        if isinstance(operation, Unary) and operation.kind not in UNARY:
            found.setdefault(f"{what} {operation.kind}", f"{what} of kind {operation.kind!r}")
        if isinstance(operation, Rope) and operation.pairing not in PAIRINGS:
            found.setdefault(operation.pairing, f"{what} with pairing {operation.pairing!r}")
        if isinstance(operation, Route) and operation.kind not in ROUTES:
            found.setdefault(operation.kind, f"{what} of kind {operation.kind!r}")
        for weight in operation.weights:
            tensor = weights.get(weight.name)
            if tensor is None or storage_of(tensor) is not None:
                continue
            key = f"{what} {tensor.dtype.name}"
            found.setdefault(key, f"{what} with {tensor.dtype.name} weights ({tensor.name})")
    return list(found.values())


def lower(
    graph: Graph, weights: Mapping[str, TensorInfo], kv_dtype: str = "F16", *, fused: bool = True
) -> Lowered:
    """Lower a graph for which `missing_kernels` is empty. `ShapeError` if the graph is inconsistent."""
    lowering = _Lowering(weights, kv_dtype)
    for operation in graph:
        lowering.add(operation)
    for name, value in graph.outputs.items():
        if lowering.shapes.get(value.name) != (value.rows, value.width) or value.rows != WANTED:
            raise ShapeError(f"output {name!r}: {value.name} is not computed, or not for the wanted rows")
    names = [record.output for record in lowering.records]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ShapeError(f"{twice} names both a value of the graph and one that its lowering adds")
    return Lowered(
        cut_stages(lowering.records, fused=fused),
        {name: width for name, (_, width) in lowering.shapes.items()} | lowering.tables,
        lowering.quantised,
        lowering.experts,
        {name: tuple(uses.values()) for name, uses in lowering.packings.items()},
        lowering.vocabulary,
        lowering.sections,
    )


class _Lowering(Recorder):
    def add(self, operation: Operation) -> None:
        """Append the records of one operation."""
        output = operation.output
        self.need(operation, output.name not in self.shapes, "its output has been computed before")
        self.need(operation, 0 < output.width <= MOST_WIDTH, f"its output's width is {output.width}")
        self.need(operation, output.rows in (TOKENS, WANTED), f"its output's rows are {output.rows!r}")
        rows = TOKENS if isinstance(operation, (Select, Pool)) else output.rows
        for value in operation.inputs:
            known = self.shapes.get(value.name)
            self.need(operation, known is not None, f"its input {value.name} has not been computed")
            given = (value.rows, value.width)
            self.need(operation, known == given, f"its input {value.name} is {given}, computed as {known}")
            self.need(operation, value.rows == rows, f"its input {value.name} has {value.rows} rows")
        match operation:
            case Embedding():
                self._embedding(operation)
            case Linear():
                self._linear(operation)
            case RMSNorm() | LayerNorm():
                self._norm(operation)
            case Rope():
                lower_rope(self, operation)
            case Attention():
                lower_attention(self, operation)
            case Select(x=x):
                self.need(operation, output.rows == WANTED, "its output's rows are not the wanted rows")
                self.same_width(operation, x)
                self.emit(operation, "SELECT", x)
            case Pool(x=x, kind=kind):
                self.need_sound(operation, operation.fault())
                self.emit(operation, "POOL", x, mode=kind.upper())
            case GatedActivation(gate=x, up=y):
                self.same_width(operation, x, y)
                self.need_sound(operation, operation.fault())
                code, mode, numbers = gating(operation)
                self.emit(operation, code, x, y, mode=mode, numbers=numbers)
            case Add(a=x, b=y):
                self.same_width(operation, x, y)
                self.emit(operation, "ADD", x, y)
            case Multiply(a=x, b=y):
                self.same_width(operation, x, y)
                self.emit(operation, "MULTIPLY", x, y)
            case Scale(x=x):
                self.same_width(operation, x)
                self.emit(operation, "SCALE", x, numbers={"factor": operation.factor})
            case Route():
                lower_route(self, operation)
            case Experts():
                lower_experts(self, operation)
            case Columns(x=x, start=start, groups=groups):
                self.need_sound(operation, operation.fault())
                self.emit(
                    operation, "COLUMNS", x, numbers={"inner": x.width, "start": start, "groups": groups}
                )
            case SigmoidGate(x=x, y=y):
                self.same_width(operation, y)
                weight = self.vector(operation, operation.weight, x.width, "gate")
                self.emit(operation, "SIGMOID_GATE", x, y, weight=weight, numbers={"inner": x.width})
            case SoftCap(x=x):
                self.same_width(operation, x)
                self.need(operation, operation.cap != 0, "its cap is 0")
                self.emit(operation, "SOFT_CAP", x, numbers={"cap": operation.cap})
            case Unary(x=x, kind=kind):
                self.same_width(operation, x)
                self.emit(operation, "UNARY", x, mode=UNARY[kind])
            case L2Norm(x=x):
                self.same_width(operation, x)
                self.need_sound(operation, operation.fault())
                self.emit(
                    operation, "L2_NORM", x, numbers={"inner": operation.group, "factor": operation.epsilon}
                )
            case ColumnScale():
                lower_column_scale(self, operation)
            case ColumnShift():
                lower_column_shift(self, operation)
            case PositionEmbedding() | TypeEmbedding():
                lower_lookup(self, operation)
            case PositionScale():
                lower_position_scale(self, operation)
            case Concat():
                lower_concat(self, operation)
            case Inputs(x=x):
                self.need_sound(operation, operation.fault())
                self.emit(operation, "INPUTS", x)
            case HeadLinear():
                lower_head_linear(self, operation)
            case ShortConv() | GatedDelta() | SelectiveScan():
                lower_recurrent(self, operation)
            case MixStreams() | MatchMagnitude() | GaussianCut():
                lower_streams(self, operation)
        self.shapes[output.name] = (output.rows, output.width)

    def _embedding(self, op: Embedding) -> None:
        self.need(op, op.output.rows == TOKENS, "its output must have a row for each token")
        tensor = self.tensor(op, op.weight, (op.weight.shape[0], op.output.width))
        self.need_sound(op, op.fault())
        numbers: dict[str, float] = {}
        if op.beyond is None:
            self.vocabulary = min(self.vocabulary, op.weight.shape[0])
        else:
            numbers = {"inner": op.weight.shape[0], "start": op.beyond}
        packing = self.use(tensor, "embedding", lambda: pack_rows(tensor))
        self.emit(op, "EMBEDDING", weight=packing, storage=packing.storage.name, numbers=numbers)

    def _linear(self, op: Linear) -> None:
        tensor = self.tensor(op, op.weight, (op.output.width, op.x.width))
        packing = self.use(tensor, "linear", lambda: pack_panels(tensor, "linear"))
        self.emit(
            op,
            "LINEAR",
            self.as_read_by(packing, op.x),
            weight=packing,
            bias=None if op.bias is None else self.vector(op, op.bias, op.output.width, "bias"),
            storage=packing.storage.name,
            numbers={"inner": op.x.width},
        )

    def _norm(self, op: RMSNorm | LayerNorm) -> None:
        self.same_width(op, op.x)
        width = op.x.width
        if isinstance(op, RMSNorm):
            self.need_sound(op, op.fault())
            tensor = self.tensor(op, op.weight, op.weight.shape)
            weight = self.use(tensor, "norm", lambda: pack_vector(tensor, "norm"))
            mode = None if op.groups is None else "TRUE"
            numbers = {"inner": op.group, "factor": op.epsilon}
            self.emit(op, "RMS_NORM", op.x, weight=weight, mode=mode, numbers=numbers)
            return
        self.emit(
            op,
            "LAYER_NORM",
            op.x,
            weight=None if op.weight is None else self.vector(op, op.weight, width, "norm"),
            bias=None if op.bias is None else self.vector(op, op.bias, width, "bias"),
            numbers={"inner": width, "factor": op.epsilon},
        )
