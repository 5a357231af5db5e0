"""Locates a difference: the first value that a graph computes otherwise than an oracle."""

from __future__ import annotations

import numpy as np

from zigai_core.contracts.graph import Graph
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights
from zigai_core.testing.oracles.oracle import Oracle


def first_difference(oracle: Oracle, graph: Graph, *, tolerance: float = 1e-3) -> str:
    """Returns which of the oracle's values is the first that the graph computes differently, as a sentence.

    `tolerance` is relative to the largest element of a value.
    """
    values = Evaluation(graph, float_weights(graph, oracle.model.tensors), oracle.tokens).values
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
