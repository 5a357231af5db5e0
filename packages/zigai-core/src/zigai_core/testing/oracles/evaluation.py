"""Evaluates graphs that differ in a few operations for one text, without computing again what is equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import IN_PLACE, Batch
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import PluginError
from zigai_core.contracts.graph import Array, Graph, Operation, Value, Weight
from zigai_core.contracts.state import KVCache, Recurrent, State
from zigai_core.ops.operations import Inputs


class Evaluation:
    """One text in one step, by the numpy definitions of the operations; an output row for each token.

    `values` holds what the operations of `graph` compute. `changed` evaluates other operations: of those that
    are operations of the graph, too, it computes only what depends on a difference.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Mapping[str, Array],
        tokens: Sequence[int],
        types: Sequence[int] = (),
        embeddings: Array | None = None,
    ) -> None:
        """`weights` are float32, for all tensors of the graph and of the operations of `changed`.

        `types` is the type of each token; without any, all are 0. `embeddings` stand in place of tokens -1.
        """
        self.graph = graph
        self._tokens = np.array(tokens, np.int32)
        self._types = np.array(types, np.int32) if len(types) else None
        self._embeddings = embeddings
        self._weights = weights
        self._caches: dict[Operation, dict[str, _Cache]] = {}
        self.values = self._evaluate(graph.operations, {}, frozenset())

    def outputs(self, values: Mapping[str, Array] | None = None) -> Mapping[str, Array]:
        """Returns the graph's outputs from its values, or from those of `changed`: `[tokens, width]`."""
        values = self.values if values is None else values
        return {name: values[value.name] for name, value in self.graph.outputs.items()}

    def changed(self, operations: Sequence[Operation]) -> Mapping[str, Array]:
        """Returns the values of other operations, which compute the graph's outputs under the same names."""
        if any(operation.whole_sequences for operation in operations) != self.graph.whole_sequences:
            return self._evaluate(operations, {}, frozenset())  # every row sees others
        return self._evaluate(operations, self.values, frozenset(self.graph.operations))

    def with_embeddings(self) -> Evaluation | None:
        """Returns the same with every other token given as the row that `Inputs` reads for it.

        None if the graph takes no embeddings, or reads tokens elsewhere, too, so that other values come out.
        """
        taken = next((each for each in self.graph if isinstance(each, Inputs)), None)
        if taken is None or self._embeddings is not None:
            return None
        tokens = self._tokens.copy()
        tokens[1::2] = IN_PLACE
        rows = self.values[taken.x.name][1::2]
        types = () if self._types is None else self._types.tolist()
        found = Evaluation(self.graph, self._weights, tokens.tolist(), types, rows)
        own = self.outputs()
        equal = all(np.array_equal(rows, own[name]) for name, rows in found.outputs().items())
        return found if equal else None

    def _batch(self, operations: Sequence[Operation]) -> Batch:
        count = len(self._tokens)
        rows = np.arange(count, dtype=np.int32)
        whole = any(operation.whole_sequences for operation in operations)
        ends = np.full(count, count, np.int32) if whole else None
        return Batch(
            self._tokens,
            np.zeros(count, np.int32),
            rows,
            rows,
            ends=ends,
            types=self._types,
            embeddings=self._embeddings,
        )

    def _evaluate(
        self, operations: Sequence[Operation], known: Mapping[str, Array], same: frozenset[Operation]
    ) -> dict[str, Array]:
        step = _Step(self._batch(operations), self._weights)
        differ: set[str] = set()  # values that are not as in `known`
        touched: set[str] = set()  # states that may not be
        for operation in operations:
            name = operation.output.name
            states = {state.name for state in operation.states}
            read = {value.name for value in operation.inputs}
            if operation in same and not read & differ and not states & touched:
                step.values[name] = known[name]
                step.caches |= {each: cache.copy() for each, cache in self._caches[operation].items()}
                continue
            step.values[name] = np.asarray(operation.evaluate(step), np.float32)
            if operation not in self._caches and not same:
                self._caches[operation] = {each: step.caches[each] for each in states & set(step.caches)}
                continue
            touched |= states
            if name not in known or not np.array_equal(step.values[name], known[name], equal_nan=True):
                differ.add(name)
        return step.values


class _Step:
    """Implements `Step` for one text that begins in the step."""

    def __init__(self, batch: Batch, weights: Mapping[str, Array]) -> None:
        self.batch = batch
        self.values: dict[str, Array] = {}
        self.caches: dict[str, _Cache] = {}
        self._weights = weights

    def __getitem__(self, value: Value) -> Array:
        return self.values[value.name]

    def weight(self, weight: Weight) -> Array:
        """Returns a whole tensor."""
        return self._weights[weight.name].reshape(weight.shape)

    def weight_rows(self, weight: Weight, rows: NDArray[np.int32]) -> Array:
        """Returns some rows of a tensor reshaped to `[-1, weight.shape[-1]]`."""
        return self._weights[weight.name].reshape(-1, weight.shape[-1])[rows]

    def keys_and_values(self, state: State) -> _Cache:
        """Returns a cache that holds the step's own entries alone."""
        if not isinstance(state.spec, KVCache):
            raise PluginError(f"the state {state.name} is not a KV cache")
        return self.caches.setdefault(state.name, _Cache(state.spec))

    def recurrent(self, state: State) -> _Slot:
        """Returns a state of zeros, whose writes are forgotten."""
        if not isinstance(state.spec, Recurrent):
            raise PluginError(f"the state {state.name} is not a recurrent state")
        return _Slot(state.spec)


class _Cache:
    """The keys and values of one text."""

    def __init__(self, spec: KVCache) -> None:
        self._spec = spec
        self._keys: Array | None = None
        self._values: Array | None = None

    def copy(self) -> _Cache:
        copied = _Cache(self._spec)
        copied._keys, copied._values = self._keys, self._values
        return copied

    def append(self, keys: Array, values: Array | None) -> None:
        self._keys = keys
        self._values = keys[..., : self._spec.value_dim] if values is None else values

    def read(self, sequence: int, first: int, end: int) -> tuple[Array, Array]:
        if self._keys is None or self._values is None:
            raise PluginError("a cache is read that no operation has written")
        return self._keys[first:end], self._values[first:end]


class _Slot:
    """A recurrent state of a text that begins in the step."""

    def __init__(self, spec: Recurrent) -> None:
        self._spec = spec

    def read(self, sequence: int) -> Mapping[str, Array]:
        return {name: np.zeros(shape, dtype) for name, (shape, dtype) in self._spec.arrays.items()}

    def write(self, row: int, arrays: Mapping[str, Array]) -> None:
        pass

    def written(self) -> frozenset[int]:
        return frozenset()


def float_weights(graph: Graph, tensors: Mapping[str, TensorInfo]) -> dict[str, Array]:
    """Returns the tensors that a graph reads, as float32 of the shapes that it reads them with."""
    return {weight.name: tensors[weight.name].reshaped(weight.shape).to_float32() for weight in graph.weights}
