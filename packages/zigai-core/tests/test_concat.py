"""Rows and heads side by side, against loops over single elements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Array, Graph, Value
from zigai_core.contracts.options import CompileOptions
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import Concat
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.oracles.mutants import mutants
from zigai_core.testing.toys import random_tensors

WIDTH, COUNT = 12, 5
TENSORS = random_tensors({"token_embd.weight": (COUNT, WIDTH)})
X = TENSORS["token_embd.weight"].to_float32()
Build = Callable[[GraphBuilder, Value], Value]


def graph_of(build: Build) -> Graph:
    g = GraphBuilder(TENSORS)
    g.output("hidden", g.select(build(g, g.embedding("token_embd", WIDTH))))
    return g.finish()


def evaluated(build: Build) -> Array:
    options = CompileOptions(context=8, batch=8, page=4)
    at = DirectRunner(NumpyBackend().compile(graph_of(build), TENSORS, options))
    return at.run([Part(at.new_sequence(), range(COUNT), want_all=True)])[0]["hidden"]


def parts(g: GraphBuilder, x: Value, left: int, right: int) -> tuple[Value, Value]:
    return g.columns(x, 0, left, name="left"), g.columns(x, WIDTH - right, right, name="right")


@pytest.mark.parametrize(("groups", "left", "right"), [(1, 5, 3), (1, 12, 12), (2, 4, 6), (3, 9, 3)])
def test_each_group_of_one_is_followed_by_the_same_group_of_the_other(
    groups: int, left: int, right: int
) -> None:
    actual = evaluated(lambda g, x: g.concat(*parts(g, x, left, right), groups=groups, name="both"))
    expected = []
    for row in X.tolist():
        a, b = row[:left], row[WIDTH - right :]
        joined = []
        for group in range(groups):
            joined += a[group * left // groups : (group + 1) * left // groups]
            joined += b[group * right // groups : (group + 1) * right // groups]
        expected.append(joined)
    np.testing.assert_array_equal(actual, np.array(expected, np.float32))


@pytest.mark.parametrize(("groups", "left", "right"), [(1, 5, 3), (4, 4, 3), (3, 12, 1)])
def test_a_shared_part_follows_each_group(groups: int, left: int, right: int) -> None:
    actual = evaluated(
        lambda g, x: g.concat(*parts(g, x, left, right), groups=groups, shared=True, name="both")
    )
    size = left // groups
    expected = [
        [number for group in range(groups) for number in [*row[group * size :][:size], *row[WIDTH - right :]]]
        for row in X.tolist()
    ]
    np.testing.assert_array_equal(actual, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("groups", "left", "right", "message"),
    [
        (0, 4, 4, "a row of 4 elements is not 0 whole groups"),
        (3, 4, 3, "a row of 4 elements is not 3 whole groups"),
        (2, 4, 3, "2 groups of left, 4 wide, and right, 3 wide, do not give 7 elements"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups: int, left: int, right: int, message: str) -> None:
    with pytest.raises(ShapeError, match=f"both: {message}"):
        evaluated(lambda g, x: g.concat(*parts(g, x, left, right), groups=groups, name="both"))


def test_an_output_of_another_width_or_rows_of_another_height_are_refused() -> None:
    with pytest.raises(ShapeError, match="do not give 9 elements"):
        evaluated(lambda g, x: g.append(Concat(Value("both", 9, x.rows), *parts(g, x, 4, 4))))
    with pytest.raises(ShapeError, match="left has tokens rows and wanted has wanted rows"):
        graph_of(lambda g, x: g.concat(g.columns(x, 0, 4, name="left"), g.select(x), name="both"))


def test_mutants_have_the_parts_in_the_other_order_and_other_groups() -> None:
    graph = graph_of(lambda g, x: g.concat(*parts(g, x, 4, 6), groups=2, name="both"))
    names = {mutant.name for mutant in mutants(graph)}
    assert {"both: the other part first", "both: groups is 1, not 2"} <= names
