"""A model as a straight line of coarse operations on `[rows, width]` float32 values.

An architecture fills a `GraphBuilder`; a backend takes the finished `Graph`. Every value is named and made
once. Two symbolic heights exist: `TOKENS`, one row for each token of a step, and `WANTED`, the rows whose
logits the caller asked for; `GraphBuilder.select` leads from the first to the second. One graph serves
prefill and decode.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Batch
from zigai_core.contracts.errors import UnsupportedError

Array = NDArray[np.float32]

TOKENS = "tokens"
WANTED = "wanted"

_INSTEAD = {
    "logits": ": it cannot generate text; where it has an output named hidden, use embed()",
    "hidden": ": it cannot embed text; where it has an output named logits, use logits() or generate()",
}
"""What to do in place of what takes an output that a graph lacks."""


@dataclass(frozen=True)
class Value:
    """A named intermediate: float32 of shape `[rows, width]`, where `rows` is `TOKENS` or `WANTED`."""

    name: str
    width: int
    rows: str = TOKENS


@dataclass(frozen=True)
class Weight:
    """A reference to a tensor of the file, whose shape the builder has checked."""

    name: str
    shape: tuple[int, ...]


class Step(Protocol):
    """What an operation's numpy definition sees of the step that is being computed."""

    batch: Batch

    def __getitem__(self, value: Value) -> Array:
        """A value that was computed before: `[rows, width]`."""
        ...

    def weight(self, weight: Weight) -> Array:
        """A whole tensor, dequantised, of `weight.shape`."""
        ...

    def weight_rows(self, weight: Weight, rows: NDArray[np.int32]) -> Array:
        """Some rows, dequantised: `[len(rows), weight.shape[-1]]`, counted over all axes but the last."""
        ...

    def remember(self, layer: int, keys: Array, values: Array) -> None:
        """Put this step's keys and values into the cache of `layer`.

        They are `[tokens, KV heads, key width]` and `[tokens, KV heads, value width]`.
        """
        ...

    def recall(self, layer: int, sequence: int, length: int) -> tuple[Array, Array]:
        """Keys and values of the first `length` positions of one of the batch's sequences."""
        ...


@dataclass(frozen=True)
class CacheSpec:
    """What one attention layer keeps for every cached token: a key and a value for each KV head.

    `key_dim` and `value_dim` are the widths of one head's key and value, in elements.
    """

    layer: int
    kv_heads: int
    key_dim: int
    value_dim: int


@dataclass(frozen=True, eq=False)
class Operation(ABC):
    """One step of a graph: computes `output` from other values and from weights.

    A subclass is a frozen dataclass. Its fields of type `Value` (but `output`) are its inputs, those of type
    `Weight` its weights, the rest its attributes. `evaluate` is its definition: a backend may compute it in
    any other way that gives the same numbers. A plugin adds an operation by defining such a class.
    """

    output: Value

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The values that must be computed before, in field order."""
        own = (getattr(self, f.name) for f in fields(self) if f.name != "output")
        return tuple(value for value in own if isinstance(value, Value))

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The tensors it reads, in field order; optional ones that are absent are left out."""
        own = (getattr(self, f.name) for f in fields(self))
        return tuple(weight for weight in own if isinstance(weight, Weight))

    @property
    def token_limit(self) -> int | None:
        """Token ids must be below this; None for an operation that does not look at them."""
        return None

    @property
    def cache(self) -> CacheSpec | None:
        """What it keeps in the cache for every token; None for an operation that keeps nothing."""
        return None

    @abstractmethod
    def evaluate(self, step: Step) -> Array:
        """The output, `[rows, output.width]`, by numpy: the definition that backends are held to."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A finished architecture: operations in the order they are computed, and the named outputs.

    Outputs have `WANTED` rows. By convention `logits` (`[wanted, vocabulary]`) is what text is drawn from,
    and `hidden` (`[wanted, width]`) the last normalised state, an embedding of the text so far. A graph has
    both, one of them (an encoder has no logits), or others.
    """

    operations: tuple[Operation, ...]
    outputs: Mapping[str, Value]
    constants: frozenset[str] = frozenset()
    """Tensors whose values are built into operations, such as RoPE's divisors."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Tensors that the architecture knows and does without: a pattern of names (`blk.46.nextn.*`) and why."""

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Every tensor the graph reads, once, in order of first use."""
        return tuple({weight.name: weight for op in self.operations for weight in op.weights}.values())

    @property
    def cache(self) -> tuple[CacheSpec, ...]:
        """What each attention layer must remember, in order of the layers."""
        specs = (operation.cache for operation in self.operations)
        return tuple(sorted((spec for spec in specs if spec is not None), key=lambda spec: spec.layer))

    @property
    def vocabulary_size(self) -> int:
        """The width of the logits; `UnsupportedError` where there are none."""
        return self.output("logits").width

    @property
    def token_limit(self) -> int:
        """Token ids must be below this: the rows of the smallest embedding; 2³¹ - 1 without one."""
        limits = (operation.token_limit for operation in self.operations)
        return min((limit for limit in limits if limit is not None), default=2**31 - 1)

    def output(self, name: str) -> Value:
        """The output of this name; `UnsupportedError`, with the names there are, where it has none."""
        if name not in self.outputs:
            there, instead = ", ".join(sorted(self.outputs)) or "none", _INSTEAD.get(name, "")
            raise UnsupportedError(
                f"this model's graph has no output named {name} (its outputs: {there}){instead}"
            )
        return self.outputs[name]

    def describe(self) -> str:
        """The graph as text, a line an operation."""
        return "\n".join(
            f"{op.output.name}[{op.output.rows}, {op.output.width}] = {type(op).__name__}("
            + ", ".join([value.name for value in op.inputs] + [weight.name for weight in op.weights])
            + ")"
            for op in self.operations
        )
