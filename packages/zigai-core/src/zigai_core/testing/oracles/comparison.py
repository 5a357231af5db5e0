"""Compares outputs with an oracle's, and names the first value of a graph that differs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from zigai_core.contracts.graph import Array, Graph
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights
from zigai_core.testing.oracles.oracle import Oracle

TOLERANCE = 1e-4
"""Largest difference from an oracle that is rounding, of outputs with magnitudes of about 1 to 10."""


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


def first_difference(oracle: Oracle, graph: Graph, *, tolerance: float = 1e-3) -> str:
    """Returns which of the oracle's values is the first that the graph computes differently, as a sentence.

    `tolerance` is relative to the largest element of a value.
    """
    weights = float_weights(graph, oracle.model.tensors)
    values = Evaluation(graph, weights, oracle.tokens, oracle.types).values
    agree: str | None = None
    compared = 0
    for operation in graph:
        name = operation.output.name
        expected = oracle.values.get(name)
        if expected is None:
            continue
        compared += 1
        found = values[name][list(oracle.rows)]
        if found.shape != expected.shape:
            widths = f"its width is {found.shape[1]}, not {expected.shape[1]}"
            return f"the first value that differs is {name}: {widths}"
        worst = float(np.abs(found - expected).max())
        if not worst <= tolerance * float(np.abs(expected).max()):
            row = oracle.rows[int(np.abs(found - expected).max(axis=1).argmax())]
            return (
                f"the first value that differs is {name}, by up to {worst:.2g} of "
                f"{np.abs(expected).max():.2g} (token {row})"
                + (f"; {agree}, before it, agrees" if agree else "")
            )
        agree = name
    if not compared:
        return f"of the oracle's {len(oracle.values)} values the graph has none of this name"
    return f"the {compared} values that both name agree: the difference is after {agree}"
