"""Collects the records of a graph while it is lowered, with checks that all operations share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Operation, Value, Weight
from zigai_core.ops.operations import Experts, GatedActivation
from zigai_kernels.packing import Packing, pack_vector
from zigai_kernels.records import Record

ACTIVATIONS = {
    "silu": "SILU",
    "gelu": "GELU",
    "gelu_tanh": "GELU_TANH",
    "gelu_quick": "GELU_QUICK",
    "relu": "RELU",
}

UNARY = {
    **ACTIVATIONS,
    "sigmoid": "LOGISTIC",
    "tanh": "TANH",
    "softplus": "SOFTPLUS",
    "relu_squared": "RELU_SQUARED",
}

MOST_HEADS = 1 << 10
"""Largest number of query heads or experts: C computes with heads or experts times rows in 32 bits."""

MOST_WIDTH = 1 << 30
"""Largest number of elements in a row: C computes the size of a padded row with its scales in 32 bits."""


class Recorder:
    """Records in order, with the shapes, buffers and packings that they need.

    Methods that take an operation raise `ShapeError`, with its name, if it fails their check.
    """

    def __init__(self, weights: Mapping[str, TensorInfo], kv_dtype: str) -> None:
        self.weights = weights
        self.kv_dtype = kv_dtype
        self.records: list[Record] = []
        self.shapes: dict[str, tuple[str, int]] = {}
        self.tables: dict[str, int] = {}
        self.quantised: dict[str, tuple[str, int, int]] = {}
        self.experts: dict[str, int] = {}
        self.packings: dict[str, dict[str, Packing]] = {}
        self.stored: dict[str, str] = {}
        """By the name of a state: the output of the STORE record of its keys and values."""
        self.recurrent: set[str] = set()
        """The names of recurrent states that operations use."""
        self.sections = 1
        """The number of sections of positions that RoPE tables read."""
        self.vocabulary = 2**31 - 1

    def emit(
        self,
        op: Operation,
        code: str,
        x: Value | str | None = None,
        y: Value | str | None = None,
        **rest: Any,
    ) -> None:
        """Append the record that computes the operation's output."""
        names = [v.name if isinstance(v, Value) else v for v in (x, y)]
        self.records.append(
            Record(code, op.output.name, names[0], names[1], op.output.rows, op.output.width, **rest)
        )

    def use(self, tensor: TensorInfo, kernel: str, packing: Callable[[], Packing]) -> Packing:
        """The tensor's packing for a kernel, shared by all operations with that kernel."""
        uses = self.packings.setdefault(tensor.name, {})
        if kernel not in uses:
            uses[kernel] = packing()
        return uses[kernel]

    def vector(self, op: Operation, weight: Weight, width: int, kernel: str) -> Packing:
        """The packing of a vector of `width` elements."""
        tensor = self.tensor(op, weight, (width,))
        return self.use(tensor, kernel, lambda: pack_vector(tensor, kernel))

    def tensor(self, op: Operation, weight: Weight, shape: tuple[int, ...]) -> TensorInfo:
        """The tensor of a weight. `ShapeError` if it is missing or has another shape."""
        tensor = self.weights.get(weight.name)
        if tensor is None:
            raise ShapeError(f"{op.output.name}: tensor {weight.name} is missing")
        if weight.shape != shape:
            raise ShapeError(f"{op.output.name}: {weight.name} has shape {weight.shape}, {shape} is needed")
        return tensor.reshaped(shape)

    def same_width(self, op: Operation, *values: Value) -> None:
        """Require values as wide as the output."""
        widths = [value.width for value in values]
        self.need(op, set(widths) == {op.output.width}, f"inputs {widths} and output {op.output.width} wide")

    def need(self, op: Operation, true: bool, wrong: str) -> None:
        """Require a condition; `wrong` is the error text if it does not hold."""
        if not true:
            raise ShapeError(f"{type(op).__name__} {op.output.name}: {wrong}")

    def need_sound(self, op: Operation, fault: str | None) -> None:
        """Require that the operation's own check found no fault."""
        self.need(op, fault is None, fault or "")

    def as_read_by(self, weight: Packing, x: Value, repeat: int = 1, part: str = "") -> str:
        """The name of x in the form that products with the weight read; it is quantised only once.

        `repeat` rows of x's width are quantised for each row of the step. `part` ends the name, if x itself
        is quantised in other rows, too.
        """
        storage = weight.storage
        if storage.activations == "F32":
            return x.name
        name = f"{x.name} {storage.activations.lower()}{part}"
        if name not in self.quantised:
            self.quantised[name] = (storage.name, x.width, repeat)
            numbers = {"repeat": repeat}
            self.records.append(
                Record("QUANTIZE", name, x.name, None, x.rows, x.width, storage=storage.name, numbers=numbers)
            )
        return name


def gating(op: GatedActivation | Experts) -> tuple[str, str, dict[str, float]]:
    """The code, mode and numbers of the record of its gated activation."""
    mode = ACTIVATIONS[op.activation]
    if op.limit is None and not op.up_offset:
        return "GATED", mode, {}
    limit = math.inf if op.limit is None else op.limit
    return "GATED_CLAMP", mode, {"cap": limit, "offset": op.up_offset}
