"""Stores a model under the other convention of RoPE's pairs, as the converter of some formats does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import Conventions, ModelDescriptor
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.operations import Columns, L2Norm, LayerNorm, Linear, RMSNorm, Rope, Scale, SoftCap
from zigai_core.testing.oracles.oracle import float_tensor


def with_adjacent_pairs(model: ModelDescriptor, graph: Graph) -> ModelDescriptor:
    """Returns the same model with adjacent pairs, for a model and graph with pairs half a head apart.

    Of what RoPE rotates, the rows of matrices and the elements of biases and norms are put into another
    order: element i of a pair's first half to place 2i, and of its second half to 2i + 1. Raises
    `UnsupportedError` if what is rotated is neither a product with a matrix nor a norm of one, or if such a
    product is values, too, as in some layers of Gemma 4: they would be in another order with it.
    """
    tensors = dict(model.tensors)
    moved: set[tuple[str, int]] = set()
    for operation in graph:
        if not isinstance(operation, Rope):
            continue
        order = _order(operation)
        for name, rows in _rotated(graph, operation.x, np.arange(operation.x.width)):
            if (name, int(rows[0])) in moved:
                continue
            moved.add((name, int(rows[0])))
            values = tensors[name].to_float32().copy()
            part = values[rows]
            values[rows] = part.reshape(-1, len(order), *part.shape[1:])[:, order].reshape(part.shape)
            tensors[name] = float_tensor(name, values)
    return replace(model, tensors=tensors, conventions=Conventions(rope_pairing="adjacent"))


def _order(rope: Rope) -> NDArray[np.intp]:
    """For each element of a head in the new order, its place in the old one."""
    half = len(rope.frequencies)
    order = np.arange(rope.head_dim)
    order[: 2 * half] = np.arange(2 * half).reshape(2, half).T.reshape(-1)
    return order


def _rotated(graph: Graph, value: Value, columns: NDArray[np.intp]) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """The tensors that give columns of a value, each with those of its rows that give them."""
    made = next(operation for operation in graph if operation.output == value)
    if isinstance(made, (RMSNorm, LayerNorm)):
        for weight in made.weights:
            shared = weight.shape[0] < len(columns)  # by the heads
            yield weight.name, np.arange(weight.shape[0]) if shared else columns
        yield from _rotated(graph, made.x, columns)
    elif isinstance(made, (Scale, SoftCap, L2Norm)):
        yield from _rotated(graph, made.x, columns)
    elif isinstance(made, Columns):
        inner, part = made.x.width // made.groups, made.output.width // made.groups
        yield from _rotated(graph, made.x, columns // part * inner + made.start + columns % part)
    elif isinstance(made, Linear):
        if len(columns) == value.width and sum(value in operation.inputs for operation in graph) > 1:
            raise UnsupportedError(f"{value.name}, which RoPE rotates, is read as it is, too")
        for weight in made.weights:
            yield weight.name, columns
    else:
        raise UnsupportedError(f"{value.name}, which RoPE rotates, is computed by {type(made).__name__}")
