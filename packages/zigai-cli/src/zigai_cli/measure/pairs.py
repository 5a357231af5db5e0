"""The order in which two models store what RoPE rotates, which formats choose differently.

llama.cpp's converter permutes the query and key rows of some architectures, so that the elements `(2i, 2i+1)`
of a head are a pair; folders of Hugging Face have `(i, i + n/2)`. The numbers are the same in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.graph import Array, Graph, Operation, Value
from zigai_core.ops.operations import (
    Add,
    Columns,
    ColumnScale,
    ColumnShift,
    L2Norm,
    LayerNorm,
    Multiply,
    PositionScale,
    RMSNorm,
    Rope,
    Scale,
    SoftCap,
)

Order = NDArray[np.intp]

KEEPS_ORDER = (
    *(Add, LayerNorm, Multiply, RMSNorm, Scale, SoftCap),
    *(ColumnScale, ColumnShift, L2Norm, PositionScale),
)
"""Operations whose output has another order if their inputs and weights have."""


def orders(a: Graph, b: Graph) -> dict[str, Order]:
    """For each value of B that is in another order than A's, the column of B for each column of A.

    These are the values that RoPE rotates and gives, if its pairs are adjacent in one graph and half a head
    apart in the other, and those between them and the products with matrices from which they come.
    """
    pairings = {operation.output.name: operation.pairing for operation in a if isinstance(operation, Rope)}
    makers = {operation.output: operation for operation in b}
    found: dict[str, Order] = {}
    for operation in b:
        if not isinstance(operation, Rope):
            if isinstance(operation, (Scale, SoftCap, PositionScale)) and operation.x.name in found:
                found.setdefault(operation.output.name, found[operation.x.name])
            continue
        if pairings.get(operation.output.name, operation.pairing) == operation.pairing:
            continue
        order = _order(operation)
        found[operation.output.name] = order
        _add_sources(found, makers, operation.x, 0, order)
    return found


def reordered(steps: Iterable[Mapping[str, Array]], found: Mapping[str, Order]) -> Iterator[dict[str, Array]]:
    """Yields the values of B with the columns of those in `found` in A's order."""
    for step in steps:
        yield {name: rows[:, found[name]] if name in found else rows for name, rows in step.items()}


def _order(rope: Rope) -> Order:
    """For a rotation in B, the column of B for each column under the other pairing."""
    half = len(rope.frequencies)
    head = np.arange(rope.head_dim)
    pairs = np.arange(2 * half).reshape(half, 2)  # adjacent ones
    head[: 2 * half] = pairs.T.reshape(-1)
    if rope.pairing == "half":
        head = np.argsort(head)
    starts = np.arange(0, rope.x.width, rope.head_dim)
    return (starts[:, None] + head).reshape(-1)


def _add_sources(
    found: dict[str, Order], makers: Mapping[Value, Operation], value: Value, start: int, order: Order
) -> None:
    """Adds a value, whose columns from `start` on are in this order, and those of which it is made."""
    whole = found.setdefault(value.name, np.arange(value.width))
    whole[start : start + len(order)] = start + order
    made = makers.get(value)
    if isinstance(made, Columns):
        _add_sources(found, makers, made.x, made.start + start, order)
    elif isinstance(made, KEEPS_ORDER):
        for source in made.inputs:
            _add_sources(found, makers, source, start, order)
