"""From a graph to the flat list of records that the C code walks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import TOKENS, WANTED, CacheSpec, Graph, Operation, Value, Weight
from zigai_core.ops.operations import (
    Add,
    Attention,
    Columns,
    Embedding,
    GatedActivation,
    LayerNorm,
    Linear,
    MixtureOfExperts,
    Multiply,
    RMSNorm,
    Rope,
    Scale,
    Select,
    SigmoidGate,
    SoftCap,
)
from zigai_kernels.packing import STORAGE, Packing, pack_panels, pack_rows, pack_vector, storage_of
from zigai_kernels.records import Record
from zigai_kernels.stages import Stage, cache_name, cut_stages

ACTIVATIONS = {"silu": "SILU", "gelu": "GELU", "gelu_tanh": "GELU_TANH", "relu": "RELU"}
PAIRINGS = {"adjacent": "ADJACENT", "half": "HALF"}
SERVED = (
    *(Embedding, Linear, RMSNorm, LayerNorm, Rope, Attention, MixtureOfExperts),
    *(GatedActivation, SigmoidGate, Add, Multiply, Scale, SoftCap, Columns, Select),
)

MOST_HEADS = 1 << 10
"""Query heads of a layer. Times a batch they stay countable in C's 32 bits."""

MOST_WIDTH = 1 << 30
"""Elements in a row of a value. Padded, and with scales behind them, they stay countable in C's 32 bits."""

MOST_WINDOW = 1 << 30
"""No context is longer (`check_options`), so a window of so many positions is none."""


@dataclass(frozen=True, eq=False)
class Lowered:
    """The records in their stages, and what each named buffer in them holds."""

    stages: tuple[Stage, ...]
    widths: Mapping[str, int]
    """float32 elements in a row of each value, by name."""
    quantised: Mapping[str, tuple[str, int, int]]
    """By name of a quantised value: a storage type of the weights that it is for, elements in a row, and rows
    for each row of the step."""
    experts: Mapping[str, int]
    """By the name of a grouping of rows by expert: how many experts there are."""
    packings: Mapping[str, tuple[Packing, ...]]
    """By tensor: how its uses want it."""
    vocabulary: int
    """Token ids must be below this."""

    @property
    def records(self) -> list[Record]:
        """Those of all stages, one after another."""
        return [record for stage in self.stages for record in stage.records]


def missing_kernels(graph: Graph, weights: Mapping[str, TensorInfo]) -> list[str]:
    """Each operation and (operation, storage type) without a kernel, once, with the first that needs it."""
    found: dict[str, str] = {}
    for operation in graph:
        what = type(operation).__name__
        if type(operation) not in SERVED:
            found.setdefault(what, f"operation {what} ({operation.output.name})")
            continue
        if (
            isinstance(operation, (GatedActivation, MixtureOfExperts))
            and operation.activation not in ACTIVATIONS
        ):
            found.setdefault(operation.activation, f"{what} with activation {operation.activation!r}")
        if isinstance(operation, Rope) and operation.pairing not in PAIRINGS:
            found.setdefault(operation.pairing, f"{what} with pairing {operation.pairing!r}")
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
    """The records of a graph that `missing_kernels` found complete; `ShapeError` where it is inconsistent."""
    lowering = _Lowering(weights, kv_dtype)
    for operation in graph:
        lowering.add(operation)
    for name, value in graph.outputs.items():
        if lowering.shapes.get(value.name) != (value.rows, value.width) or value.rows != WANTED:
            raise ShapeError(f"output {name!r}: {value.name} is not a computed value of the wanted rows")
    names = [record.output for record in lowering.records if record.operation != "STORE"]
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
    )


class _Lowering:
    def __init__(self, weights: Mapping[str, TensorInfo], kv_dtype: str) -> None:
        self.weights = weights
        self.kv_dtype = kv_dtype
        self.records: list[Record] = []
        self.shapes: dict[str, tuple[str, int]] = {}
        self.tables: dict[str, int] = {}
        self.quantised: dict[str, tuple[str, int, int]] = {}
        self.experts: dict[str, int] = {}
        self.packings: dict[str, dict[str, Packing]] = {}
        self.layers: set[int] = set()
        self.vocabulary = 2**31 - 1

    def add(self, operation: Operation) -> None:
        """Append the records of one operation."""
        output = operation.output
        self._need(operation, output.name not in self.shapes, "its output has been computed before")
        self._need(operation, 0 < output.width <= MOST_WIDTH, f"its output's width is {output.width}")
        self._need(operation, output.rows in (TOKENS, WANTED), f"its output has {output.rows!r} rows")
        rows = TOKENS if isinstance(operation, Select) else output.rows
        for value in operation.inputs:
            known = self.shapes.get(value.name)
            self._need(operation, known is not None, f"its input {value.name} has not been computed")
            self._need(operation, known == (value.rows, value.width), f"its input {value.name} is {known}")
            self._need(operation, value.rows == rows, f"its input {value.name} has {value.rows} rows")
        match operation:
            case Embedding():
                self._embedding(operation)
            case Linear():
                self._linear(operation)
            case RMSNorm() | LayerNorm():
                self._norm(operation)
            case Rope():
                self._rope(operation)
            case Attention():
                self._attention(operation)
            case Select(x=x):
                self._need(operation, output.rows == WANTED, "it must lead to the wanted rows")
                self._same_width(operation, x)
                self._emit(operation, "SELECT", x)
            case GatedActivation(gate=x, up=y):
                self._same_width(operation, x, y)
                self._emit(operation, "GATED", x, y, mode=ACTIVATIONS[operation.activation])
            case Add(a=x, b=y):
                self._same_width(operation, x, y)
                self._emit(operation, "ADD", x, y)
            case Multiply(a=x, b=y):
                self._same_width(operation, x, y)
                self._emit(operation, "MULTIPLY", x, y)
            case Scale(x=x):
                self._same_width(operation, x)
                self._emit(operation, "SCALE", x, numbers={"factor": operation.factor})
            case MixtureOfExperts():
                self._experts(operation)
            case Columns(x=x, start=start):
                inside = 0 <= start <= x.width - output.width
                self._need(operation, inside, f"columns from {start} in a row of {x.width}")
                self._emit(operation, "COLUMNS", x, numbers={"inner": x.width, "start": start})
            case SigmoidGate(x=x, y=y):
                self._same_width(operation, y)
                weight = self._vector(operation, operation.weight, x.width, "gate")
                self._emit(operation, "SIGMOID_GATE", x, y, weight=weight, numbers={"inner": x.width})
            case SoftCap(x=x):
                self._same_width(operation, x)
                self._need(operation, operation.cap != 0, "its cap is 0")
                self._emit(operation, "SOFT_CAP", x, numbers={"cap": operation.cap})
        self.shapes[output.name] = (output.rows, output.width)

    def _embedding(self, op: Embedding) -> None:
        self._need(op, op.output.rows == TOKENS, "it gives a row for each token")
        tensor = self._tensor(op, op.weight, (op.weight.shape[0], op.output.width))
        self.vocabulary = min(self.vocabulary, op.weight.shape[0])
        packing = self._use(tensor, "embedding", lambda: pack_rows(tensor))
        self._emit(op, "EMBEDDING", weight=packing, storage=tensor.dtype.name)

    def _linear(self, op: Linear) -> None:
        tensor = self._tensor(op, op.weight, (op.output.width, op.x.width))
        packing = self._use(tensor, "linear", lambda: pack_panels(tensor, "linear"))
        self._emit(
            op,
            "LINEAR",
            self._as_read_by(tensor, op.x),
            weight=packing,
            bias=None if op.bias is None else self._vector(op, op.bias, op.output.width, "bias"),
            storage=tensor.dtype.name,
            numbers={"inner": op.x.width},
        )

    def _as_read_by(self, weight: TensorInfo, x: Value, repeat: int = 1) -> str:
        """The name of x as products with the weight read it: computed before its first use, and shared."""
        storage = STORAGE[weight.dtype.name]
        if storage.activations == "F32":
            return x.name
        name = f"{x.name} {storage.activations.lower()}"
        if name not in self.quantised:
            self.quantised[name] = (storage.name, x.width, repeat)
            numbers = {"repeat": repeat}
            self.records.append(
                Record("QUANTIZE", name, x.name, None, x.rows, x.width, storage=storage.name, numbers=numbers)
            )
        return name

    def _experts(self, op: MixtureOfExperts) -> None:
        """Route rows, group them by expert, three products with each expert's matrices, and combine."""
        experts, used = op.scores.width, op.used
        hidden = op.gate.shape[1] if len(op.gate.shape) == 3 else 0
        self._same_width(op, op.x)
        self._need(op, 1 <= used <= experts, f"{used} of {experts} experts are used")
        most = max(hidden, op.x.width) * experts
        inside = hidden > 0 and most <= MOST_WIDTH and experts <= MOST_HEADS
        self._need(op, inside, f"{experts} experts of {hidden}")
        name, rows, routing = op.output.name, op.output.rows, {"used": used}

        def value(part: str, width: int) -> Value:
            self.tables[f"{name} {part}"] = width * used
            return Value(f"{name} {part}", width, rows)

        route, groups = value("route", 2), value("groups", 1)
        mode = "TRUE" if op.renormalise else None
        emit = self.records.append
        emit(Record("ROUTE", route.name, op.scores.name, None, rows, experts, mode=mode, numbers=routing))
        emit(Record("GROUP", groups.name, route.name, None, rows, experts, numbers=routing))
        self.experts[groups.name] = experts

        def linear(x: Value, weight: Weight, part: str, width: int, *, many: bool) -> Value:
            tensor = self._tensor(op, weight, (experts, width, x.width))
            packing = self._use(tensor, "experts", lambda: pack_panels(tensor, "experts"))
            out = value(part, width)
            numbers = routing | {"inner": x.width, "heads": experts}
            emit(
                Record(
                    "EXPERT_LINEAR",
                    out.name,
                    self._as_read_by(tensor, x, used if many else 1),
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
        self._emit(op, "COMBINE", parts, route, numbers=routing)

    def _norm(self, op: RMSNorm | LayerNorm) -> None:
        self._same_width(op, op.x)
        group = op.weight.shape[0]
        bias = op.bias if isinstance(op, LayerNorm) else None
        whole = isinstance(op, LayerNorm)
        self._need(
            op,
            group > 0 and (op.x.width == group if whole else op.x.width % group == 0),
            f"its weight of {group} does not fit a row of {op.x.width}",
        )
        self._emit(
            op,
            "LAYER_NORM" if whole else "RMS_NORM",
            op.x,
            weight=self._vector(op, op.weight, group, "norm"),
            bias=None if bias is None else self._vector(op, bias, group, "bias"),
            numbers={"inner": group, "factor": op.epsilon},
        )

    def _rope(self, op: Rope) -> None:
        self._same_width(op, op.x)
        frequencies = np.ascontiguousarray(op.frequencies, dtype=np.float32)
        pairs = frequencies.size
        self._need(op, op.output.rows == TOKENS, "positions belong to tokens, not to wanted rows")
        self._need(
            op,
            frequencies.ndim == 1 and op.head_dim > 0 and 0 < 2 * pairs <= op.head_dim,
            f"{frequencies.shape} frequencies do not fit heads of {op.head_dim}",
        )
        self._need(op, op.x.width % op.head_dim == 0, f"{op.x.width} is no number of heads of {op.head_dim}")
        table = self._table(frequencies, op.magnitude)
        numbers = {"inner": pairs, "head_dim": op.head_dim}
        self._emit(op, "ROPE", op.x, table, mode=PAIRINGS[op.pairing], numbers=numbers)

    def _table(self, frequencies: NDArray[np.float32], magnitude: float) -> str:
        """The name of the cosines and sines for these frequencies, computed once a step."""
        for record in self.records:
            if (
                record.operation == "ROPE_TABLE"
                and np.array_equal(np.asarray(record.weight), frequencies)
                and record.numbers["factor"] == magnitude
            ):
                return record.output
        name = f"rope table {len(self.tables)}"
        pairs = frequencies.size
        self.tables[name] = 2 * pairs
        numbers = {"inner": pairs, "factor": magnitude}
        self.records.append(
            Record("ROPE_TABLE", name, width=2 * pairs, weight=frequencies.copy(), numbers=numbers)
        )
        return name

    def _attention(self, op: Attention) -> None:
        self._need(op, op.output.rows == TOKENS, "positions belong to tokens, not to wanted rows")
        self._need(
            op,
            op.kv_heads > 0 and op.heads > 0 and op.heads % op.kv_heads == 0 and op.head_dim > 0,
            f"{op.heads} heads of {op.head_dim} cannot share {op.kv_heads} KV heads",
        )
        self._need(op, op.heads <= MOST_HEADS, f"more than {MOST_HEADS} heads")
        wide, narrow = op.heads * op.head_dim, op.kv_heads * op.head_dim
        widths = (op.query.width, op.output.width, op.key.width, op.value.width)
        self._need(
            op, widths == (wide, wide, narrow, narrow), f"query, output, key and value are {widths} wide"
        )
        self._need(op, op.layer not in self.layers, f"layer {op.layer}'s cache has another owner")
        self._need(op, op.window is None or op.window > 0, f"its window is {op.window}")
        self._need(op, op.soft_cap is None or op.soft_cap != 0, "its soft cap is 0")
        self.layers.add(op.layer)
        spec = CacheSpec(op.layer, op.kv_heads, op.head_dim)
        shape = {"heads": op.heads, "kv_heads": op.kv_heads, "head_dim": op.head_dim}
        self.records.append(
            Record(
                "STORE",
                cache_name(op.layer),
                op.key.name,
                op.value.name,
                TOKENS,
                narrow,
                storage=self.kv_dtype,
                numbers=shape,
                cache=spec,
            )
        )
        window = op.window if op.window is not None and op.window < MOST_WINDOW else 0
        numbers = shape | {"factor": op.scale, "window": window, "cap": op.soft_cap or 0.0}
        self._emit(op, "ATTENTION", op.query, storage=self.kv_dtype, numbers=numbers, cache=spec)

    def _emit(
        self,
        op: Operation,
        code: str,
        x: Value | str | None = None,
        y: Value | str | None = None,
        **rest: Any,
    ) -> None:
        names = [v.name if isinstance(v, Value) else v for v in (x, y)]
        self.records.append(
            Record(code, op.output.name, names[0], names[1], op.output.rows, op.output.width, **rest)
        )

    def _use(self, tensor: TensorInfo, kernel: str, packing: Callable[[], Packing]) -> Packing:
        """The packing for this kernel, one for all operations that share it."""
        uses = self.packings.setdefault(tensor.name, {})
        if kernel not in uses:
            uses[kernel] = packing()
        return uses[kernel]

    def _vector(self, op: Operation, weight: Weight, width: int, kernel: str) -> Packing:
        tensor = self._tensor(op, weight, (width,))
        return self._use(tensor, kernel, lambda: pack_vector(tensor, kernel))

    def _tensor(self, op: Operation, weight: Weight, shape: tuple[int, ...]) -> TensorInfo:
        tensor = self.weights.get(weight.name)
        if tensor is None:
            raise ShapeError(f"{op.output.name}: tensor {weight.name} is missing")
        if tensor.shape != shape or weight.shape != shape:
            raise ShapeError(f"{op.output.name}: {weight.name} has shape {tensor.shape}, {shape} is needed")
        return tensor

    def _same_width(self, op: Operation, *values: Value) -> None:
        widths = [value.width for value in values]
        self._need(op, set(widths) == {op.output.width}, f"inputs {widths} and output {op.output.width} wide")

    def _need(self, op: Operation, true: bool, wrong: str) -> None:
        if not true:
            raise ShapeError(f"{type(op).__name__} {op.output.name}: {wrong}")
