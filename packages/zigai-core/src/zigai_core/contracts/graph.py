"""A model as a sequence of coarse operations on float32 values of shape `[rows, width]`.

An architecture builds a `Graph` with a `GraphBuilder`; a backend compiles it. Each value has a name of its
own and is computed by one operation. Its number of rows is symbolic: `TOKENS`, one row for each token of a
step, or `WANTED`, one row for each output row (`Batch.output_rows`). `GraphBuilder.select` takes the output
rows of a value. The same graph serves prefill and decode.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Batch
from zigai_core.contracts.errors import PluginError, UnsupportedError
from zigai_core.contracts.state import KVCache, State, StateGroup

Array = NDArray[np.float32]

TOKENS = "tokens"
WANTED = "wanted"

_INSTEAD = {
    "logits": (": it neither generates text nor predicts it", "hidden", "; use embed() (zig-ai embed)"),
    "hidden": (": it cannot embed text", "logits", "; use logits() or generate()"),
    "scores": (
        ": it scores no pairs of texts; load a reranker (a cross-encoder)",
        "hidden",
        ", or compare texts by embed()",
    ),
}
"""By the name of a missing output, what that means, and what to use instead if there is another output."""

_OF_RERANKERS = (
    ": it is a reranker, which scores pairs of texts and does nothing else; use rerank() (zig-ai rerank)"
)

_OF_CLASSIFIERS = ": it gives scores of several labels, which no command and no method of a model reads yet"


@dataclass(frozen=True)
class Value:
    """A named intermediate value: float32 of shape `[rows, width]`; `rows` is `TOKENS` or `WANTED`."""

    name: str
    width: int
    rows: str = TOKENS


@dataclass(frozen=True)
class Weight:
    """A reference to a tensor of the file; the builder has checked its shape."""

    name: str
    shape: tuple[int, ...]


class Step(Protocol):
    """The step being computed, as an operation's numpy definition sees it."""

    batch: Batch

    def __getitem__(self, value: Value) -> Array:
        """Returns a value that was computed earlier in the step: `[rows, width]`."""
        ...

    def weight(self, weight: Weight) -> Array:
        """Returns a whole tensor, dequantised: float32 of `weight.shape`."""
        ...

    def weight_rows(self, weight: Weight, rows: NDArray[np.int32]) -> Array:
        """Returns some rows, dequantised: float32 `[len(rows), weight.shape[-1]]`.

        `rows` are indices into the tensor reshaped to `[-1, weight.shape[-1]]`.
        """
        ...

    def keys_and_values(self, state: State) -> KeysAndValues:
        """Returns the KV cache `state`. Raises `PluginError` if it is not one."""
        ...

    def recurrent(self, state: State) -> RecurrentState:
        """Returns the recurrent state `state`. Raises `PluginError` if it is not one."""
        ...


class KeysAndValues(Protocol):
    """A KV cache during a step."""

    def append(self, keys: Array, values: Array | None) -> None:
        """Writes the step's keys and values.

        Shapes: `[tokens, KV heads, key width]` and `[tokens, KV heads, value width]`. `values` is None for a
        cache with `values_in_keys`.
        """
        ...

    def read(self, sequence: int, first: int, end: int) -> tuple[Array, Array]:
        """Returns keys and values of a sequence's indices `first..end - 1`, shaped as for `append`.

        `sequence` is a number of `Batch.sequences`.
        """
        ...


class RecurrentState(Protocol):
    """A recurrent state during a step."""

    def read(self, sequence: int) -> Mapping[str, Array]:
        """Returns copies of the arrays of a sequence before the step; zeros if it has no tokens yet."""
        ...

    def write(self, row: int, arrays: Mapping[str, Array]) -> None:
        """Writes the arrays after a row to the slots that the step has for them; often there are none.

        Called for every row, or for those of `written`.
        """
        ...

    def written(self) -> frozenset[int]:
        """Returns the rows whose state the step stores."""
        ...


@dataclass(frozen=True, eq=False)
class Operation(ABC):
    """An operation of a graph: computes `output` from other values and from weights.

    A subclass is a frozen dataclass. Its fields of type `Value` (except `output`) are its inputs, those of
    type `Weight` its weights, those of type `State` its states, all others its attributes. `evaluate` defines
    what it computes; a backend may compute the same in any other way. A plugin adds an operation by defining
    such a class.
    """

    output: Value

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The values that the operation reads, in field order."""
        own = (getattr(self, f.name) for f in fields(self) if f.name != "output")
        return tuple(value for value in own if isinstance(value, Value))

    @property
    def weights(self) -> tuple[Weight, ...]:
        """The tensors that the operation reads, in field order, without optional ones that are None."""
        own = (getattr(self, f.name) for f in fields(self))
        return tuple(weight for weight in own if isinstance(weight, Weight))

    @property
    def token_limit(self) -> int | None:
        """Token ids must be below this limit; None if the operation does not use token ids."""
        return None

    @property
    def position_limit(self) -> int | None:
        """Positions must be from 0 to below this limit; None if the operation takes any."""
        return None

    @property
    def type_limit(self) -> int | None:
        """Token types must be from 0 to below this limit; None if the operation does not use them."""
        return None

    @property
    def input_width(self) -> int | None:
        """The width of the rows of `Batch.embeddings` that it takes; None: it takes none."""
        return None

    @property
    def states(self) -> tuple[State, ...]:
        """The states that the operation uses, in field order."""
        own = (getattr(self, f.name) for f in fields(self))
        return tuple(state for state in own if isinstance(state, State))

    @property
    def whole_sequences(self) -> bool:
        """True if all rows of a sequence must be in one step, because no state keeps them."""
        return False

    @property
    def pooling(self) -> str | None:
        """How it makes one row of all those of a sequence: `mean`, `cls` or `last`; None: it does not."""
        return None

    def fault(self) -> str | None:
        """Returns why the attributes are invalid, for an error text; None if they are valid."""
        return None

    @abstractmethod
    def evaluate(self, step: Step) -> Array:
        """Returns the output, float32 `[rows, output.width]`. Backends are tested against it."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A complete model: operations in the order of computation, and named outputs.

    Outputs have `WANTED` rows. By convention the output `logits` is `[wanted, vocabulary]`, for the next
    token, and `hidden` is `[wanted, width]`, the state after the last norm, used as an embedding of the text
    so far, or of the whole text in a graph that pools (`pooling`). A reranker has `scores`, `[wanted,
    labels]`, of the whole text, which is a pair of texts. A graph may have both, one of them (an
    encoder has no logits) or outputs of other names.
    """

    operations: tuple[Operation, ...]
    outputs: Mapping[str, Value]
    constants: frozenset[str] = frozenset()
    """Names of tensors whose values are part of operations' attributes, such as RoPE's divisors."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Tensors that the architecture deliberately does not use: name pattern (`blk.46.nextn.*`) to reason."""

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        """The tensors that the graph reads, without duplicates, in order of first use."""
        return tuple({weight.name: weight for op in self.operations for weight in op.weights}.values())

    @cached_property
    def states(self) -> tuple[State, ...]:
        """The states that the graph uses, without duplicates, in order of first use.

        Raises `PluginError` if two different states have the same name.
        """
        found: dict[str, State] = {}
        for state in (state for operation in self.operations for state in operation.states):
            if found.setdefault(state.name, state) != state:
                raise PluginError(f"the graph has two different states named {state.name}")
        return tuple(found.values())

    @cached_property
    def groups(self) -> tuple[StateGroup, ...]:
        """The states by group: caches of all tokens, then each window in ascending order, then recurrent."""
        caches: dict[int | None, list[State]] = {}
        recurrent: list[State] = []
        for state in self.states:
            if isinstance(state.spec, KVCache):
                caches.setdefault(state.spec.window, []).append(state)
            else:
                recurrent.append(state)
        windows = sorted(caches, key=lambda window: window or 0)
        groups = [StateGroup(tuple(caches[window]), window) for window in windows]
        return (*groups, *([StateGroup(tuple(recurrent), recurrent=True)] if recurrent else []))

    @cached_property
    def whole_sequences(self) -> bool:
        """True if each sequence must be in one step with all its tokens, as in an encoder."""
        return any(operation.whole_sequences for operation in self.operations)

    @cached_property
    def pooling(self) -> str | None:
        """The pooling of the graph's own, by which outputs stand for whole sequences; None if they do not."""
        return next((op.pooling for op in self.operations if op.pooling is not None), None)

    @property
    def vocabulary_size(self) -> int:
        """The width of the logits. Raises `UnsupportedError` if there are none."""
        return self.output("logits").width

    @cached_property
    def token_limit(self) -> int:
        """Token ids must be below this limit: the rows of the smallest embedding; 2³¹ - 1 without one."""
        limits = (operation.token_limit for operation in self.operations)
        return min((limit for limit in limits if limit is not None), default=2**31 - 1)

    @cached_property
    def position_limit(self) -> int | None:
        """Positions of the first section must be from 0 to below this limit; None: the graph takes any."""
        limits = (operation.position_limit for operation in self.operations)
        return min((limit for limit in limits if limit is not None), default=None)

    @cached_property
    def type_limit(self) -> int:
        """Token types must be from 0 to below this limit; 1 if the graph does not use them."""
        limits = (operation.type_limit for operation in self.operations)
        return min((limit for limit in limits if limit is not None), default=1)

    @cached_property
    def input_width(self) -> int | None:
        """The width of the rows of `Batch.embeddings`; None if the graph takes none in place of tokens.

        Raises `PluginError` if operations take rows of different widths.
        """
        found = (operation.input_width for operation in self.operations)
        widths = sorted({width for width in found if width is not None})
        if len(widths) > 1:
            raise PluginError(f"the graph takes embeddings of several widths: {widths}")
        return widths[0] if widths else None

    def output(self, name: str) -> Value:
        """Returns the output of this name. Raises `UnsupportedError`, with the existing names, if missing."""
        if name not in self.outputs:
            names = ", ".join(sorted(self.outputs)) or "none"
            means, other, use = _INSTEAD.get(name, ("", "", ""))
            instead = means + (use if other in self.outputs else "")
            if "scores" in self.outputs:
                instead = _OF_RERANKERS if self.outputs["scores"].width == 1 else _OF_CLASSIFIERS
            raise UnsupportedError(
                f"this model's graph has no output named {name} (its outputs: {names}){instead}"
            )
        return self.outputs[name]

    def describe(self) -> str:
        """Returns the graph as text, one line per operation."""
        return "\n".join(
            f"{op.output.name}[{op.output.rows}, {op.output.width}] = {type(op).__name__}("
            + ", ".join([value.name for value in op.inputs] + [weight.name for weight in op.weights])
            + ")"
            for op in self.operations
        )
