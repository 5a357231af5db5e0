"""How strong an oracle is: its mutation score, the mutants of a graph that it kills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np

from zigai_core.contracts.errors import ZigAIError
from zigai_core.contracts.graph import Array, Graph, Operation
from zigai_core.ops.operations import Add, Embedding, Experts
from zigai_core.testing.oracles.comparison import TOLERANCE, difference
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights
from zigai_core.testing.oracles.mutants import Mutant, mutants
from zigai_core.testing.oracles.oracle import Oracle, text_of

SCALES = (1.0, 1.0, 1e-2, 1e-4)
"""Factors of the residual stream in each draw of other weights: an epsilon matters where values are small."""

LONGEST_WINDOW = 512
"""Windows up to this many tokens are shorter than the texts on which equivalence is tried."""

EQUAL = 1e-5
"""Largest relative difference between two graphs that compute the same, but may add in another order."""


@dataclass(frozen=True)
class MutationScore:
    """The mutants of a graph, by what an oracle says of them.

    `killed`: the outputs differ from the oracle's. `survived`: they do not, so the oracle cannot tell that
    model from this one. `equivalent`: they do not, and with other weights and a longer text the mutation has
    no effect on any output either: it is another way to write the same model.
    """

    killed: tuple[str, ...]
    survived: tuple[str, ...]
    equivalent: tuple[str, ...]

    @property
    def total(self) -> int:
        """Number of mutants that are another model."""
        return len(self.killed) + len(self.survived)

    @classmethod
    def of(cls, oracle: Oracle, graph: Graph, *, tolerance: float = TOLERANCE) -> MutationScore:
        """Compares every mutant of `graph` with the oracle.

        If the graph takes embeddings, also with every other token given as the row that stands for it.

        A mutant whose operations cannot be evaluated is left out: every test would notice it.
        """
        weights = float_weights(graph, oracle.model.tensors)
        killed: list[Mutant] = []
        others: list[Mutant] = []
        with np.errstate(all="ignore"):  # a mutant may divide by zero
            own = Evaluation(graph, weights, oracle.tokens, oracle.types)
            given = own.with_embeddings()
            for mutant in mutants(graph):
                outputs = _outputs_of(own, mutant)
                if outputs is None:
                    continue
                differs = difference(outputs, oracle.outputs) > tolerance
                if not differs and given is not None:
                    outputs = _outputs_of(given, mutant)
                    differs = outputs is None or difference(outputs, oracle.outputs) > tolerance
                (killed if differs else others).append(mutant)
            draws = _draws(oracle, graph, weights) if others else ()
            equivalent = [mutant for mutant in others if _is_equivalent(draws, mutant)]
        survived = [mutant for mutant in others if mutant not in equivalent]
        return cls(*(tuple(each.name for each in kind) for kind in (killed, survived, equivalent)))

    def __str__(self) -> str:
        """The score in a few words: `kills 212 of 212 mutants`."""
        return f"kills {len(self.killed)} of {self.total} mutants"


def _outputs_of(evaluation: Evaluation, mutant: Mutant) -> Mapping[str, Array] | None:
    try:
        return evaluation.outputs(evaluation.changed(mutant.operations))
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, ArithmeticError, ZigAIError):
        return None


def _draws(oracle: Oracle, graph: Graph, weights: Mapping[str, Array]) -> tuple[Evaluation, ...]:
    """The graph with the same weights in other orders and sizes, on longer texts, of several types if the
    oracle's is.
    """
    found = []
    length = max(2 * len(oracle.tokens), *(2 * size for each in graph for size in _whole_numbers(each)), 0)
    limit = min(graph.token_limit, max(oracle.tokens) + 1)
    residual = {*_weights_of_residuals(graph)}
    for seed, scale in enumerate(SCALES):
        random = np.random.RandomState(seed)
        drawn = {
            name: random.permutation(array.reshape(-1)).reshape(array.shape)
            * np.float32(scale if name in residual else 1)
            for name, array in weights.items()
        }
        text = text_of(limit, min(length, 2 * LONGEST_WINDOW), seed + 1)
        types = random.randint(0, graph.type_limit, len(text)).tolist() if oracle.types else ()
        found.append(Evaluation(graph, drawn, text, types))
    return tuple(found)


def _weights_of_residuals(graph: Graph) -> Iterator[str]:
    """The weights that make what is added up: embeddings, and the last operation of each part of a layer."""
    made = {operation.output: operation for operation in graph}
    added = {value for operation in graph if isinstance(operation, Add) for value in operation.inputs}
    for operation in (*(made[value] for value in added), *graph):
        if isinstance(operation, Experts):
            yield from (weight.name for weight in (operation.down, operation.down_bias) if weight)
        elif isinstance(operation, Embedding) or operation.output in added:
            yield from (weight.name for weight in operation.weights)


def _whole_numbers(operation: Operation) -> Iterator[int]:
    """The attributes of an operation that may be windows: only a longer text shows what they do."""
    for field in fields(operation):
        value = getattr(operation, field.name)
        if isinstance(value, int) and value > 0:
            yield value


def _is_equivalent(draws: tuple[Evaluation, ...], mutant: Mutant) -> bool:
    if any(number > LONGEST_WINDOW for number in _whole_numbers(mutant.original)):
        return False  # no text is long enough to show what it does
    for evaluation in draws:
        expected = evaluation.outputs()
        outputs = _outputs_of(evaluation, mutant)
        size = max(float(np.abs(rows).max()) for rows in expected.values())
        if outputs is None or difference(outputs, expected) > EQUAL * size:
            return False
    return True
