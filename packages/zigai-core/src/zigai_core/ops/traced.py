"""A graph whose outputs are all of its values, so that any backend returns what it computes in between."""

from __future__ import annotations

from dataclasses import replace

from zigai_core.contracts.errors import PluginError
from zigai_core.contracts.graph import TOKENS, WANTED, Graph, Operation, Value
from zigai_core.ops.operations.rows import Select

SELECTED = "wanted rows of "
"""Begins the names of the values that are added to a traced graph."""


def traced(graph: Graph) -> Graph:
    """Returns the graph with an output for each of its values, by the value's name.

    The output has the output rows of its value. Operations are the same, in the same order; after one whose
    value has a row for each token, an operation is added that takes the output rows.

    Raises `PluginError` for a graph in which two operations have the same output.
    """
    operations: list[Operation] = []
    outputs: dict[str, Value] = {}
    for operation in graph:
        value = operation.output
        if value.name in outputs:
            raise PluginError(f"two operations of the graph compute a value named {value.name}")
        operations.append(operation)
        if value.rows == TOKENS:
            selected = Select(Value(SELECTED + value.name, value.width, WANTED), value)
            operations.append(selected)
            outputs[value.name] = selected.output
        else:
            outputs[value.name] = value
    return replace(graph, operations=tuple(operations), outputs=outputs)
