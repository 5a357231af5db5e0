"""How strong an oracle is: which mutations of a graph it notices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np

from zigai_core.contracts.graph import Array, Graph
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights
from zigai_core.testing.oracles.mutations import Mutation, mutations
from zigai_core.testing.oracles.oracle import Oracle, text_of

TOLERANCE = 1e-4
"""Largest difference from an oracle that is rounding, of outputs with magnitudes of about 1 to 10."""

DRAWS = 3
"""Other weights and texts on which a mutation without effect is tried."""

LONGEST_WINDOW = 512
"""Windows up to this many tokens are shorter than the texts on which a mutation without effect is tried."""

EQUAL = 1e-5
"""Largest relative difference between two graphs that compute the same, but may add in another order."""


@dataclass(frozen=True)
class Strength:
    """The mutations of a graph by what an oracle says of them.

    `noticed`: the outputs differ from the oracle's. `survived`: they do not, so the oracle cannot tell that
    model from this one. `equal`: they do not, and with other weights and a longer text the mutation has no
    effect on any output either: it is another way to write the same model.
    """

    noticed: tuple[str, ...]
    survived: tuple[str, ...]
    equal: tuple[str, ...]

    @property
    def total(self) -> int:
        """Number of mutations that make another model."""
        return len(self.noticed) + len(self.survived)

    def __str__(self) -> str:
        """The score in one line: `notices 212 of 212 mutations`."""
        return f"notices {len(self.noticed)} of {self.total} mutations"


def strength(oracle: Oracle, graph: Graph, *, tolerance: float = TOLERANCE) -> Strength:
    """Compares every mutation of `graph` with the oracle.

    A mutation whose operations cannot be evaluated is left out: every test would notice it.
    """
    weights = float_weights(graph, oracle.model.tensors)
    noticed: list[str] = []
    unnoticed: list[Mutation] = []
    with np.errstate(all="ignore"):  # a mutation may divide by zero
        own = Evaluation(graph, weights, oracle.tokens)
        for mutation in mutations(graph):
            outputs = _outputs_of(own, mutation)
            if outputs is None:
                continue
            if difference(outputs, oracle.outputs) > tolerance:
                noticed.append(mutation.name)
            else:
                unnoticed.append(mutation)
        others = _others(oracle, graph, weights) if unnoticed else ()
        equal = [mutation.name for mutation in unnoticed if _is_equal(others, mutation)]
    survived = [mutation.name for mutation in unnoticed if mutation.name not in equal]
    return Strength(tuple(noticed), tuple(survived), tuple(equal))


def difference(outputs: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """Returns the largest difference of the outputs that are expected; infinity for NaN or another shape."""
    worst = 0.0
    for name, rows in expected.items():
        found = outputs.get(name)
        if found is None or found.shape != rows.shape:
            return float("inf")
        most = float(np.abs(found - rows).max())
        worst = max(worst, most if np.isfinite(most) else float("inf"))
    return worst


def _outputs_of(evaluation: Evaluation, mutation: Mutation) -> Mapping[str, Array] | None:
    try:
        return evaluation.outputs(evaluation.changed(mutation.operations))
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, ZeroDivisionError):
        return None


def _others(oracle: Oracle, graph: Graph, weights: Mapping[str, Array]) -> tuple[Evaluation, ...]:
    """The graph with the same weights in a random order, on longer texts."""
    found = []
    length = max(2 * len(oracle.tokens), *(2 * number for number in _whole_numbers(graph)))
    for seed in range(DRAWS):
        random = np.random.RandomState(seed)
        shuffled = {
            name: random.permutation(array.reshape(-1)).reshape(array.shape)
            for name, array in weights.items()
        }
        limit = min(graph.token_limit, max(oracle.tokens) + 1)
        found.append(Evaluation(graph, shuffled, text_of(limit, length, seed + 1)))
    return tuple(found)


def _whole_numbers(graph: Graph) -> Iterator[int]:
    """The attributes of operations that may be windows: a longer text shows what they do."""
    yield 0
    for operation in graph:
        for field in fields(operation):
            value = getattr(operation, field.name)
            if isinstance(value, int) and 0 < value <= LONGEST_WINDOW:
                yield value


def _is_equal(evaluations: tuple[Evaluation, ...], mutation: Mutation) -> bool:
    for evaluation in evaluations:
        expected = evaluation.outputs()
        outputs = _outputs_of(evaluation, mutation)
        size = max(float(np.abs(rows).max()) for rows in expected.values())
        if outputs is None or difference(outputs, expected) > EQUAL * size:
            return False
    return True
