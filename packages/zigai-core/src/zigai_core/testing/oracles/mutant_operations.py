"""Operations that only mutants have: what an author's mistake would compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import IN_PLACE
from zigai_core.contracts.graph import Array, Operation, Step, Value, Weight
from zigai_core.contracts.state import State
from zigai_core.ops.operations import (
    Attention,
    GaussianCut,
    Inputs,
    MixStreams,
    PositionEmbedding,
    Rope,
    TypeEmbedding,
)


@dataclass(frozen=True, eq=False)
class PermutedHeads(Operation):
    """The heads of each row, in another order."""

    x: Value
    order: NDArray[np.intp]
    width: int

    def evaluate(self, step: Step) -> Array:
        x = step[self.x]
        return x.reshape(len(x), -1, self.width)[:, self.order].reshape(x.shape)


@dataclass(frozen=True, eq=False)
class WholeRowNorm(Operation):
    """RMSNorm of the whole row, with the weights of a group repeated."""

    x: Value
    weight: Weight
    epsilon: float

    def evaluate(self, step: Step) -> Array:
        x, weight = step[self.x], step.weight(self.weight)
        power = np.mean(x * x, axis=-1, keepdims=True)
        y: Array = x / np.sqrt(power + np.float32(self.epsilon)) * np.tile(weight, x.shape[1] // len(weight))
        return y


@dataclass(frozen=True, eq=False)
class CausalAttention(Attention):
    """Attention in which no row sees a later one."""

    def evaluate(self, step: Step) -> Array:
        return super().evaluate(CausalStep(step))


class CausalStep:
    """A step in which no row sees a later one."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self.batch = replace(step.batch, ends=None)

    def __getitem__(self, value: Value) -> Array:
        return self._step[value]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._step, name)


@dataclass(frozen=True, eq=False)
class TailRope(Rope):
    """RoPE of the last elements of each head, in place of the first."""

    def evaluate(self, step: Step) -> Array:
        heads = self.x.width // self.head_dim
        shift = self.head_dim - 2 * len(self.frequencies)
        order = np.roll(np.arange(self.head_dim), -shift)
        columns = (np.arange(heads)[:, None] * self.head_dim + order).reshape(-1)
        turned = super().evaluate(_Changed(step, values={self.x.name: lambda x: x[:, columns]}))
        found = np.empty_like(turned)
        found[:, columns] = turned
        return found


@dataclass(frozen=True, eq=False)
class TransposedMix(MixStreams):
    """A mix of as many streams as it has, with the shares of stream j for i in place of i for j."""

    def evaluate(self, step: Step) -> Array:
        count = self.streams
        order = np.arange(count * count).reshape(count, count).T.reshape(-1)
        return super().evaluate(_Changed(step, values={self.shares.name: lambda shares: shares[:, order]}))


@dataclass(frozen=True, eq=False)
class SampleCut(GaussianCut):
    """A cut by the deviation of a sample, whose squares are divided by one less than their number."""

    def evaluate(self, step: Step) -> Array:
        wider = float((self.x.width / (self.x.width - 1)) ** 0.5)
        return replace(GaussianCut(self.output, self.x, self.factor), factor=self.factor * wider).evaluate(
            step
        )


VECTORS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "negated": lambda x: -x,
        "plus one": lambda x: x + np.float32(1),
        "reversed": lambda x: x.reshape(-1)[::-1].reshape(x.shape),
    }
)
"""Other readings of a vector of weights: norms stored minus one, a decay of the other sign."""


REVERSED_HEADS = "of the heads in reverse"
HEADS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {REVERSED_HEADS: lambda x: x[::-1], "transposed": lambda x: x.transpose(0, 2, 1)}
)
"""Other readings of a matrix for each head; the second is for square ones."""


OTHER_WEIGHTS: Mapping[str, Callable[[Array], Array]] = MappingProxyType({**VECTORS, **HEADS})


@dataclass(frozen=True, eq=False)
class WithOtherWeight(Operation):
    """An operation that reads one of its weights in another way, of `OTHER_WEIGHTS`."""

    inner: Operation
    changed: Weight
    change: str

    @property
    def inputs(self) -> tuple[Value, ...]:
        """Those of the operation."""
        return self.inner.inputs

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Those of the operation."""
        return self.inner.weights

    @property
    def states(self) -> tuple[State, ...]:
        """Those of the operation."""
        return self.inner.states

    @property
    def whole_sequences(self) -> bool:
        """As the operation."""
        return self.inner.whole_sequences

    def evaluate(self, step: Step) -> Array:
        return self.inner.evaluate(_Changed(step, weights={self.changed.name: OTHER_WEIGHTS[self.change]}))


@dataclass(frozen=True, eq=False)
class NextPositions(PositionEmbedding):
    """Embeddings of the next positions; the last one is followed by the first."""

    def evaluate(self, step: Step) -> Array:
        return step.weight_rows(self.weight, (step.batch.position() + 1) % np.int32(self.weight.shape[0]))


@dataclass(frozen=True, eq=False)
class FirstTypes(TypeEmbedding):
    """The embedding of type 0 for all tokens."""

    def evaluate(self, step: Step) -> Array:
        return step.weight_rows(self.weight, np.zeros_like(step.batch.tokens))


@dataclass(frozen=True, eq=False)
class OtherTypes(TypeEmbedding):
    """Embeddings of the next types; the last one is followed by the first."""

    def evaluate(self, step: Step) -> Array:
        return step.weight_rows(self.weight, (step.batch.token_types() + 1) % np.int32(self.weight.shape[0]))


@dataclass(frozen=True, eq=False)
class ReversedInputs(Inputs):
    """Embeddings in the reverse order."""

    def evaluate(self, step: Step) -> Array:
        given = step.batch.embeddings
        if given is None:
            return step[self.x]
        rows: Array = step[self.x].copy()
        rows[step.batch.tokens == IN_PLACE] = given[::-1]
        return rows


class _Changed:
    """A step in which some values and weights are others."""

    def __init__(
        self,
        step: Step,
        values: Mapping[str, Callable[[Array], Array]] = MappingProxyType({}),
        weights: Mapping[str, Callable[[Array], Array]] = MappingProxyType({}),
    ) -> None:
        self._step = step
        self._values = values
        self._weights = weights
        self.batch = step.batch

    def __getitem__(self, value: Value) -> Array:
        found = self._step[value]
        return self._values[value.name](found) if value.name in self._values else found

    def weight(self, weight: Weight) -> Array:
        """Returns a whole tensor."""
        found = self._step.weight(weight)
        return self._weights[weight.name](found) if weight.name in self._weights else found

    def weight_rows(self, weight: Weight, rows: NDArray[np.int32]) -> Array:
        """Returns some rows of a tensor."""
        if weight.name not in self._weights:
            return self._step.weight_rows(weight, rows)
        return self.weight(weight).reshape(-1, weight.shape[-1])[rows]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._step, name)
