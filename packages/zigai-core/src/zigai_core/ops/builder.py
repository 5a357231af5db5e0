"""Builds a graph. Each method appends one operation and checks its shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from zigai_core.contracts.descriptor import TensorInfo, without_leading_ones
from zigai_core.contracts.errors import PluginError, ShapeError
from zigai_core.contracts.graph import TOKENS, WANTED, Array, Graph, Operation, Value, Weight
from zigai_core.contracts.state import KVCache, Recurrent, State
from zigai_core.ops.builder_attention import AttentionBuilder
from zigai_core.ops.builder_columns import ColumnsBuilder
from zigai_core.ops.builder_experts import ExpertsBuilder
from zigai_core.ops.builder_positions import PositionsBuilder
from zigai_core.ops.builder_recurrent import RecurrentBuilder
from zigai_core.ops.builder_streams import StreamsBuilder
from zigai_core.ops.operations import (
    Activation,
    Add,
    Columns,
    Embedding,
    GatedActivation,
    Inputs,
    LayerNorm,
    Linear,
    Multiply,
    Pool,
    PoolKind,
    RMSNorm,
    Scale,
    Select,
    SigmoidGate,
    SoftCap,
)


class GraphBuilder(
    AttentionBuilder, ExpertsBuilder, ColumnsBuilder, PositionsBuilder, RecurrentBuilder, StreamsBuilder
):
    """Builds a graph from the tensors of a file.

    A method that returns a `Value` appends one operation, whose output that is. The output has the name of
    the weight (`blk.0.attn_q`), or `name`. A weight is given by the name of its tensor without the suffix
    `.weight`. Raises `ShapeError`, with name and both shapes, for a weight that is missing or has the wrong
    shape and for values that do not fit, `PluginError` for a name that is already used.

    >>> import numpy as np
    >>> from zigai_core.contracts.descriptor import TensorInfo
    >>> from zigai_core.contracts.dtypes import DTYPES
    >>> table = np.zeros((5, 4), np.float32)
    >>> stored = table.view(np.uint8).reshape(-1)
    >>> tensors = {"token_embd.weight": TensorInfo("token_embd.weight", (5, 4), DTYPES["F32"], stored)}
    >>> g = GraphBuilder(tensors)
    >>> x = g.embedding("token_embd", 4)
    >>> g.output("logits", g.linear(g.select(x), "token_embd", 5, name="output"))
    >>> print(g.finish().describe())
    token_embd[tokens, 4] = Embedding(token_embd.weight)
    wanted[wanted, 4] = Select(token_embd)
    output[wanted, 5] = Linear(wanted, token_embd.weight)
    """

    def __init__(self, tensors: Mapping[str, TensorInfo]) -> None:
        self._tensors = tensors
        self._operations: list[Operation] = []
        self._values: set[str] = set()
        self._states: dict[str, State] = {}
        self._outputs: dict[str, Value] = {}
        self._constants: set[str] = set()
        self._left_out: dict[str, str] = {}

    def has(self, tensor: str) -> bool:
        """True if the file has a tensor of this name."""
        return tensor in self._tensors

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Returns the shape of a tensor: at least one dimension, since a single number is `(1,)`, as in GGUF.

        Raises `ShapeError` if the file has no tensor of this name.
        """
        return self._tensor(tensor).shape or (1,)

    def constant(self, tensor: str, *shape: int) -> Array:
        """Returns a small tensor's values, float32 of `shape`, to be used in attributes (RoPE's divisors)."""
        self._weight(tensor, shape)
        self._constants.add(tensor)
        return self._tensors[tensor].reshaped(shape).to_float32()

    def leave_out(self, pattern: str, reason: str) -> None:
        """Declares that tensors whose names match `pattern` (`blk.46.nextn.*`) are deliberately not read.

        Other tensors that are not read stop loading. The reason is logged when a file with such tensors is
        loaded. Raises `PluginError` if one of the arguments is empty.
        """
        if not pattern or not reason:
            raise PluginError("leave_out() needs a pattern of tensor names and a reason")
        self._left_out[pattern] = reason

    def embedding(self, name: str, width: int, *, beyond: int | None = None) -> Value:
        """The rows of `{name}.weight` for the step's tokens: `[tokens, width]`.

        `beyond`: the row of tokens that the table does not have, which may be none without it.
        """
        shape = self._tensor(f"{name}.weight").shape
        weight = self._weight(f"{name}.weight", (math.prod(shape[:-1]), width))
        return self.append(Embedding(Value(name, width, TOKENS), weight, beyond))

    def inputs(self, x: Value, *, name: str = "inputs") -> Value:
        """`x`, with embeddings that a caller gives in place of tokens (`Batch.embeddings`): same shape.

        `x` has a row for each token, as the layers read it: after a scale or a norm of embeddings if those
        that are given do not go through it. See `Inputs`.
        """
        return self.append(Inputs(Value(name, x.width, x.rows), x))

    def linear(self, x: Value, weight: str, width: int, *, name: str | None = None) -> Value:
        """`x · {weight}.weightᵀ`, plus `{weight}.bias` if the file has one: `[rows, width]`."""
        matrix = self._weight(f"{weight}.weight", (width, x.width))
        bias = self._weight(f"{weight}.bias", (width,)) if self.has(f"{weight}.bias") else None
        return self.append(Linear(Value(name or weight, width, x.rows), x, matrix, bias))

    def rms_norm(
        self,
        x: Value,
        weight: str,
        epsilon: float,
        *,
        group: int | None = None,
        groups: int | None = None,
        name: str | None = None,
    ) -> Value:
        """RMSNorm with `{weight}.weight`, of the whole row or of each `group` elements of it.

        With `groups`, of each of so many groups, with a weight of the width of the row, stored as `[width]`
        or `[groups, width / groups]`: see `RMSNorm`.
        """
        if group is not None and groups is not None:
            raise PluginError(f"{weight}: give group or groups, not both")
        width = group or x.width
        if x.width % width:
            raise ShapeError(f"{weight}: a row of {x.width} elements is not whole groups of {width}")
        shape: tuple[int, ...] = (width,)
        if groups and x.width % groups == 0 and len(self.shape(f"{weight}.weight")) > 1:
            shape = (groups, x.width // groups)
        scale = self._weight(f"{weight}.weight", shape)
        return self.append(RMSNorm(Value(name or weight, x.width, x.rows), x, scale, epsilon, groups))

    def layer_norm(self, x: Value, weight: str | None, epsilon: float, *, name: str | None = None) -> Value:
        """LayerNorm with `{weight}.weight`, plus `{weight}.bias` if the file has one.

        Without `weight`, which then needs a `name`, it has neither.
        """
        if name is None and weight is None:
            raise PluginError("layer_norm: a norm without a weight needs a name")
        value = Value(name or weight or "", x.width, x.rows)
        if weight is None:
            return self.append(LayerNorm(value, x, None, epsilon))
        scale = self._weight(f"{weight}.weight", (x.width,))
        bias = self._weight(f"{weight}.bias", (x.width,)) if self.has(f"{weight}.bias") else None
        return self.append(LayerNorm(value, x, scale, epsilon, bias))

    def state(self, name: str, spec: KVCache | Recurrent) -> State:
        """A state for operations to use. Raises `PluginError` for a name that is already used."""
        if name in self._states:
            raise PluginError(f"the graph already has a state named {name}: choose another name")
        self._states[name] = State(name, spec)
        return self._states[name]

    def gated_activation(
        self,
        gate: Value,
        up: Value,
        *,
        name: str,
        activation: Activation = "silu",
        limit: float | None = None,
        up_offset: float = 0.0,
    ) -> Value:
        """`activation(gate) · up`; see `GatedActivation` for the limit and the offset."""
        value = self._like(gate, up, name)
        return self.append(GatedActivation(value, gate, up, activation, limit, up_offset))

    def sigmoid_gate(self, x: Value, y: Value, weight: str) -> Value:
        """`y · sigmoid(x · {weight}.weight)`: each row of `y` is multiplied by one number."""
        if x.rows != y.rows:
            raise ShapeError(f"{weight}: {x.name} has {x.rows} rows and {y.name} has {y.rows}")
        vector = self._weight(f"{weight}.weight", (x.width,))
        return self.append(SigmoidGate(Value(weight, y.width, y.rows), x, y, vector))

    def add(self, a: Value, b: Value, *, name: str) -> Value:
        """`a + b`, elementwise."""
        return self.append(Add(self._like(a, b, name), a, b))

    def multiply(self, a: Value, b: Value, *, name: str) -> Value:
        """`a · b`, elementwise."""
        return self.append(Multiply(self._like(a, b, name), a, b))

    def scale(self, x: Value, factor: float, *, name: str) -> Value:
        """`x · factor`. Raises `ShapeError` if the factor is not finite."""
        if not math.isfinite(factor):
            raise ShapeError(f"{name}: its factor is {factor}")
        return self.append(Scale(Value(name, x.width, x.rows), x, factor))

    def soft_cap(self, x: Value, cap: float, *, name: str) -> Value:
        """`cap · tanh(x / cap)`. Raises `ShapeError` if the cap is not finite, or 0."""
        if not math.isfinite(cap) or cap == 0:
            raise ShapeError(f"{name}: its cap is {cap}")
        return self.append(SoftCap(Value(name, x.width, x.rows), x, cap))

    def columns(self, x: Value, start: int, width: int, *, name: str, groups: int = 1) -> Value:
        """`width` consecutive columns of `x`, or of each of so many groups of it, beginning at `start`.

        Returns `[rows, groups · width]`. See `Columns`.
        """
        whole = 0 if groups < 1 or x.width % groups else x.width // groups
        if not 0 <= start <= start + width <= whole:
            of = "" if groups == 1 else f" in {groups} groups"
            raise ShapeError(f"{name}: {x.name} has {x.width} columns{of}, without {start}..{start + width}")
        return self.append(Columns(Value(name, groups * width, x.rows), x, start, groups))

    def select(self, x: Value, *, name: str = "wanted") -> Value:
        """The output rows of `x`: `[wanted, width]`."""
        return self.append(Select(Value(name, x.width, WANTED), x))

    def pool(self, x: Value, kind: PoolKind, *, name: str = "pooled") -> Value:
        """The pool of each output row's whole sequence: `[wanted, width]`. See `Pool`.

        Only for a graph without states: `finish` raises `PluginError` for another.
        """
        return self.append(Pool(Value(name, x.width, WANTED), x, kind))

    def append(self, operation: Operation) -> Value:
        """Appends an operation, which a plugin may have defined, and returns its output.

        Raises `ShapeError` for an operation with a `fault`, `PluginError` if the name of the output is
        already used, if an input is not computed before, or if a state is not one that `state` has returned.
        """
        output = operation.output
        if (wrong := operation.fault()) is not None:
            raise ShapeError(f"{output.name}: {wrong}")
        for state in operation.states:
            if self._states.get(state.name) != state:
                raise PluginError(f"{output.name}: make its state {state.name} with state() first")
        if output.name in self._values:
            raise PluginError(f"the graph already has a value named {output.name}: choose another name")
        for value in operation.inputs:
            if value.name not in self._values:
                raise PluginError(f"{output.name} reads {value.name}, which is not computed before it")
        self._values.add(output.name)
        self._operations.append(operation)
        return output

    def output(self, name: str, value: Value) -> None:
        """Makes a value an output: `logits`, `hidden` or any other name. Its rows must be those of `select`.

        A value may be more than one output, and other operations may use it. Raises `PluginError` for a name
        that is already used, and for a value with a row for each token.
        """
        if name in self._outputs:
            raise PluginError(f"the graph already has an output named {name}: choose another name")
        if value.rows != WANTED:
            raise PluginError(f"output {name} has a row for each token: reduce it with select()")
        self._outputs[name] = value

    def finish(self) -> Graph:
        """Returns the graph. Raises `PluginError` if it has no outputs, or has states though it pools."""
        pools = next((op for op in self._operations if op.pooling is not None), None)
        if pools is not None and self._states:
            raise PluginError(
                f"{pools.output.name} pools whole sequences, but the state {next(iter(self._states))} is for "
                "those computed in several steps: give attention the state None"
            )
        if not self._outputs:
            raise PluginError("the graph has no outputs: add one, such as logits or hidden, with output()")
        return Graph(
            tuple(self._operations), dict(self._outputs), frozenset(self._constants), dict(self._left_out)
        )

    def _tensor(self, name: str) -> TensorInfo:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise ShapeError(f"tensor {name}, which the architecture needs, is missing from the file")
        return tensor

    def _weight(self, name: str, shape: tuple[int, ...]) -> Weight:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise ShapeError(
                f"tensor {name} is missing from the file; the architecture needs it with shape {shape}"
            )
        # Some formats store a vector as a matrix of one row.
        if without_leading_ones(tensor.shape) != without_leading_ones(shape):
            raise ShapeError(f"tensor {name} has shape {tensor.shape}; the architecture needs {shape}")
        return Weight(name, shape)

    def _like(self, a: Value, b: Value, name: str) -> Value:
        if (a.width, a.rows) != (b.width, b.rows):
            raise ShapeError(
                f"{name}: {a.name} is [{a.rows}, {a.width}] and {b.name} is [{b.rows}, {b.width}]"
            )
        return Value(name, a.width, a.rows)
