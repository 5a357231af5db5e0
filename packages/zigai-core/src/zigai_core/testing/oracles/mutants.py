"""Mutants of a graph: each has one small change, which makes it another model.

A test is as strong as the share of mutants that it kills (DeMillo, Lipton and Sayward, "Hints on test data
selection", 1978). Mutations follow from the types of an operation's fields, so that operations of
plugins are mutated like those of core; a few more are those that authors of graphs have made.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import combinations
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.graph import Graph, Operation, Value, Weight
from zigai_core.ops.operations import (
    Add,
    Attention,
    Columns,
    LayerNorm,
    Linear,
    RMSNorm,
    Rope,
)
from zigai_core.testing.oracles.mutant_operations import (
    VECTORS,
    WithOtherWeight,
)
from zigai_core.testing.oracles.mutants_of_core import OF_OPERATIONS, Replacement

TINY = 0.05
"""Below this, a number such as an epsilon is multiplied and divided by 10 rather than changed by a tenth."""


@dataclass(frozen=True, eq=False)
class Mutant:
    """A graph's operations with a small change. `name` says which value is changed, and how.

    `original` is the operation that was changed.
    """

    name: str
    operations: tuple[Operation, ...]
    original: Operation


def mutants(graph: Graph) -> Iterator[Mutant]:
    """Yields every mutant of a graph, each with a name of its own.

    An operation is left out where its output has the shape of an input; reads a value one operation before or
    after the right one; changes places with its neighbour; exchanges two inputs or weights; lacks an optional
    field; or has another number, flag or name in a field. In addition: the query heads belong to other KV
    heads, RMSNorm is LayerNorm or of a whole row, both ropes of a layer change alike, a matrix is its
    neighbour's, the head is the embedding, an encoder is causal, a norm is inside or outside of a residual, a
    vector of weights is negated, reversed or plus one, matrices of heads are in another order or transposed,
    joined parts are in the other order, embeddings are those of the next positions or of other types.
    """
    names: set[str] = set()
    for mutant in (*_replaced(graph), *_exchanged(graph), *_other_residuals(graph), *_both_ropes(graph)):
        if mutant.name not in names:
            names.add(mutant.name)
            yield mutant


def _replaced(graph: Graph) -> Iterator[Mutant]:
    operations = graph.operations
    for at, operation in enumerate(operations):
        before, after = operations[:at], operations[at + 1 :]
        for name, others in _replacements(graph, at, operation):
            if all(other.fault() is None for other in others):
                name = f"{operation.output.name}: {name}"
                yield Mutant(name, (*before, *others, *after), operation)


def _replacements(graph: Graph, at: int, operation: Operation) -> Iterator[Replacement]:
    """Operations in place of one, the last of which has its output."""
    output = operation.output
    for value in dict.fromkeys(operation.inputs):
        if (value.width, value.rows) == (output.width, output.rows):
            yield f"is {value.name}, without {type(operation).__name__}", (Columns(output, value, 0),)
    for changed_name, changed in _with_other_fields(operation):
        yield changed_name, (changed,)
    for field, value in _values(operation):
        for other in _near(graph, at, value):
            yield f"{field} is {other.name}, not {value.name}", (replace(operation, **{field: other}),)
    for weight in dict.fromkeys(operation.weights):
        is_vector = isinstance(operation, RMSNorm) or max(weight.shape) == math.prod(weight.shape)
        for change in VECTORS if is_vector else ():
            yield f"{weight.name} {change}", (WithOtherWeight(output, operation, weight, change),)
    for special in OF_OPERATIONS:
        yield from special(graph, operation)


def _with_other_fields(operation: Operation) -> Iterator[tuple[str, Operation]]:
    hints = _hints(type(operation))
    kept = isinstance(operation, Attention) and operation.state is not None
    own = [(field.name, getattr(operation, field.name)) for field in fields(operation)]
    for name, value in own:
        if name == "output" or (kept and name in ("window", "chunk")):  # see _other_windows
            continue
        for label, other in _other_attributes(value, hints[name]):
            yield f"{name} {label}", replace(operation, **{name: other})
    used = [(name, value) for name, value in own if name != "output" and isinstance(value, (Value, Weight))]
    for (first, a), (second, b) in combinations(used, 2):
        if a == b:
            continue
        values = isinstance(a, Value) and isinstance(b, Value) and (a.width, a.rows) == (b.width, b.rows)
        weights = isinstance(a, Weight) and isinstance(b, Weight) and a.shape == b.shape
        if values or weights:
            swapped: dict[str, Any] = {first: b, second: a}
            yield f"{first} and {second} exchanged", replace(operation, **swapped)


@cache
def _hints(kind: type[Operation]) -> dict[str, Any]:
    return get_type_hints(kind)


def _other_attributes(value: Any, hint: Any) -> Iterator[tuple[str, Any]]:
    """Other values for a field of this type, each with a description."""
    if value is None:
        return
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if type(None) in options:
        yield "left out", None
    if isinstance(value, bool):
        yield f"is {not value}", not value
    elif isinstance(value, str):
        for option in options:
            if get_origin(option) is Literal:
                yield from ((f"is {other}", other) for other in get_args(option) if other != value)
    elif isinstance(value, int):
        for other in dict.fromkeys((value + 1, value - 1, value * 2)):
            if other != value:
                yield f"is {other}, not {value}", other
    elif isinstance(value, float):
        if value == 0:
            others: tuple[float, ...] = (TINY, 1.0)
        else:
            others = (value * 10, value / 10) if abs(value) < TINY else (value * 1.1, 1.0, -value)
        yield from (
            (f"is {other:g}, not {value:g}", other) for other in dict.fromkeys(others) if other != value
        )
    elif isinstance(value, np.ndarray):
        yield from (
            (label, other) for label, other in _other_arrays(value) if not np.array_equal(other, value)
        )


def _other_arrays(array: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    yield "reversed", array[::-1].copy()
    if array.dtype == np.float32:
        yield "multiplied by 1.1", array * np.float32(1.1)
        yield "negated", -array
        if (array > 0).all():
            yield "of another base", array ** np.float32(1.05)  # base^(-2i/d) with base^1.05
    if array.size > 1 and array.ndim == 1:
        yield "without the last entry", array[:-1].copy()


def _values(operation: Operation) -> Iterator[tuple[str, Value]]:
    for field in fields(operation):
        value = getattr(operation, field.name)
        if field.name != "output" and isinstance(value, Value):
            yield field.name, value


def _near(graph: Graph, at: int, value: Value) -> Iterator[Value]:
    """Values of the same shape, computed before operation `at`, that are one operation away from `value`."""
    shape = (value.width, value.rows)
    earlier = graph.operations[:at]
    found: list[Value] = []
    for operation in earlier:
        if operation.output == value and len(_readers(graph, value)) > 1:  # else the same as leaving it out
            found += operation.inputs
        if value in operation.inputs:
            found.append(operation.output)
    own = graph.operations[at].inputs
    for other in dict.fromkeys(found):
        if (other.width, other.rows) == shape and other not in own:
            yield other


def _readers(graph: Graph, value: Value) -> list[Operation]:
    return [operation for operation in graph if value in operation.inputs]


def _exchanged(graph: Graph) -> Iterator[Mutant]:
    """Two operations of one input in the other order, where nothing else reads what lies between them."""
    for at, second in enumerate(graph.operations):
        if len(second.inputs) != 1 or (second.weights and isinstance(second, Linear)):
            continue
        first = next(operation for operation in graph if operation.output == second.inputs[0])
        shape = (second.output.width, second.output.rows)
        if len(first.inputs) != 1 or isinstance(first, (Linear, Columns)) or type(first) is type(second):
            continue
        if len(_readers(graph, first.output)) > 1 or first.output in graph.outputs.values():
            continue
        if {(value.width, value.rows) for value in (first.inputs[0], first.output)} != {shape}:
            continue
        earlier = replace(second, **_reading(second, first.inputs[0]), output=replace(first.output))
        later = replace(first, **_reading(first, first.output), output=second.output)
        if earlier.fault() is None and later.fault() is None:
            operations = [operation for operation in graph.operations if operation is not first]
            operations[at - 1 : at] = [earlier, later]
            name = f"{second.output.name}: {type(second).__name__} before {type(first).__name__}"
            yield Mutant(name, tuple(operations), second)


def _other_residuals(graph: Graph) -> Iterator[Mutant]:
    """A norm of a sum in place of the sum with a norm, and the other way round."""
    made = {operation.output: operation for operation in graph}
    for at, operation in enumerate(graph.operations):
        others: list[tuple[str, tuple[Operation, Operation]]] = []
        aside = replace(operation.output, name=f"{operation.output.name} before")
        if isinstance(operation, Add):
            for a, b in ((operation.a, operation.b), (operation.b, operation.a)):
                norm = made[b]
                if isinstance(norm, (RMSNorm, LayerNorm)) and norm.x.width == norm.output.width:
                    total = Add(aside, a, norm.x)
                    outside = replace(norm, output=operation.output, x=aside)
                    others.append((f"the norm of the sum with {norm.x.name}", (total, outside)))
        elif isinstance(operation, (RMSNorm, LayerNorm)) and isinstance(added := made[operation.x], Add):
            for a, b in ((added.a, added.b), (added.b, added.a)):
                inside = replace(operation, output=aside, x=b)
                others.append(
                    (f"{a.name} and the norm of {b.name}", (inside, Add(operation.output, a, aside)))
                )
        for name, pair in others:
            operations = (*graph.operations[:at], *pair, *graph.operations[at + 1 :])
            yield Mutant(f"{operation.output.name}: {name}", operations, operation)


def _reading(operation: Operation, value: Value) -> dict[str, Value]:
    return {name: value for name, _ in _values(operation)}


def _both_ropes(graph: Graph) -> Iterator[Mutant]:
    """Queries and keys rotated in another way, but alike."""
    made = {operation.output: operation for operation in graph}
    for attention in graph:
        if not isinstance(attention, Attention) or attention.key is None:
            continue
        pair = made[attention.query], made[attention.key]
        if not all(isinstance(operation, Rope) for operation in pair):
            continue
        for (name, query), (other, key) in zip(*map(_with_other_fields, pair), strict=False):
            if name == other and query.fault() is None and key.fault() is None:
                new = {pair[0]: query, pair[1]: key}
                name = f"{attention.output.name}: rope of queries and keys, {name}"
                yield Mutant(name, tuple(new.get(operation, operation) for operation in graph), pair[0])
