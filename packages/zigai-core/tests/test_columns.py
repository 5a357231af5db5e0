"""Functions of elements, norms of groups, vectors, positions, matrices of heads, against their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from zigai_core.contracts.errors import PluginError, ShapeError, UnsupportedError
from zigai_core.contracts.graph import Array, Graph, Value
from zigai_core.contracts.options import CompileOptions
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import UnaryKind
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights
from zigai_core.testing.oracles.mutants import mutants
from zigai_core.testing.toys import random_tensors

WIDTH, COUNT = 12, 7
TENSORS = random_tensors(
    {
        "token_embd.weight": (COUNT, WIDTH),
        "position_embd.weight": (20, WIDTH),
        "token_types.weight": (2, WIDTH),
        "one_type.weight": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm_of_groups.weight": (3, 4),
        "decay": (WIDTH,),
        "heads.weight": (3, 5, 4),
        "square.weight": (3, 4, 4),
    }
)
W = {name: tensor.to_float32().astype(np.float64) for name, tensor in TENSORS.items()}
X = W["token_embd.weight"]
Build = Callable[[GraphBuilder, Value], Value]


def graph_of(build: Build) -> Graph:
    g = GraphBuilder(TENSORS)
    g.output("hidden", g.select(build(g, g.embedding("token_embd", WIDTH))))
    return g.finish()


def evaluated(build: Build, context: int = 16) -> Array:
    options = CompileOptions(context=context, batch=16, page=4)
    at = DirectRunner(NumpyBackend().compile(graph_of(build), TENSORS, options))
    return at.run([Part(at.new_sequence(), range(COUNT), want_all=True)])[0]["hidden"]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


FORMULAS: dict[str, Callable[[float], float]] = {
    "silu": lambda x: x * sigmoid(x),
    "gelu": lambda x: x / 2 * math.erfc(-x / math.sqrt(2)),
    "gelu_tanh": lambda x: x * sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)),
    "gelu_quick": lambda x: x * sigmoid(1.702 * x),
    "relu": lambda x: x if x > 0 else 0.0,
    "sigmoid": sigmoid,
    "tanh": math.tanh,
    "softplus": lambda x: math.log(1 + math.exp(x)),
    "relu_squared": lambda x: x * x if x > 0 else 0.0,
}


@pytest.mark.parametrize("kind", get_args(UnaryKind))
def test_unary_operations_equal_their_formulas(kind: Any) -> None:
    actual = evaluated(lambda g, x: g.unary(g.scale(x, 20.0, name="far"), kind, name="y"))
    np.testing.assert_allclose(actual, np.vectorize(FORMULAS[kind])(20 * X), rtol=1e-5, atol=1e-6)


def test_softplus_is_linear_for_large_numbers() -> None:
    actual = evaluated(lambda g, x: g.unary(g.scale(x, 1e30, name="far"), "softplus", name="y"))
    np.testing.assert_allclose(actual, np.maximum(1e30 * X, 0), rtol=1e-6)


@pytest.mark.parametrize("group", [None, 12, 4, 1])
def test_l2_norm_divides_each_group_by_its_length(group: int | None) -> None:
    actual = evaluated(lambda g, x: g.l2_norm(x, 0.01, name="unit", group=group))
    for row, expected in zip(actual, X, strict=True):
        for at in range(0, WIDTH, group or WIDTH):
            part = expected[at : at + (group or WIDTH)]
            length = math.sqrt(sum(number**2 for number in part) + 0.01)
            np.testing.assert_allclose(row[at : at + len(part)], part / length, rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 3, 12])
def test_rms_norm_of_groups_has_a_mean_for_each_and_a_weight_for_the_row(groups: int) -> None:
    actual = evaluated(lambda g, x: g.rms_norm(x, "norm", 0.01, groups=groups))
    for part, weight, given in zip(
        np.split(actual, groups, axis=1),
        np.split(W["norm.weight"], groups),
        np.split(X, groups, axis=1),
        strict=True,
    ):
        root = np.sqrt((given**2).mean(axis=1, keepdims=True) + 0.01)
        np.testing.assert_allclose(part, given / root * weight, rtol=1e-5)


def test_the_weight_of_a_norm_of_groups_may_have_a_row_for_each() -> None:
    actual = evaluated(lambda g, x: g.rms_norm(x, "norm_of_groups", 0.01, groups=3))
    parts = X.reshape(COUNT, 3, 4)
    root = np.sqrt((parts**2).mean(axis=2, keepdims=True) + 0.01)
    np.testing.assert_allclose(
        actual.reshape(COUNT, 3, 4), parts / root * W["norm_of_groups.weight"], rtol=1e-5
    )
    for wrong in (2, 4, 1):
        with pytest.raises(ShapeError, match=r"norm_of_groups.weight has shape \(3, 4\)"):
            evaluated(lambda g, x, groups=wrong: g.rms_norm(x, "norm_of_groups", 0.01, groups=groups))


def test_layer_norm_without_a_weight_has_mean_0_and_variance_1() -> None:
    actual = evaluated(lambda g, x: g.layer_norm(x, None, 0.0, name="y")).astype(np.float64)
    np.testing.assert_allclose(actual.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(actual.var(axis=1), 1, atol=1e-5)
    assert np.corrcoef(actual[3], X[3])[0, 1] > 0.999999
    with pytest.raises(PluginError, match="without a weight needs a name"):
        evaluated(lambda g, x: g.layer_norm(x, None, 0.0))


def test_vectors_scale_and_shift_columns() -> None:
    np.testing.assert_allclose(
        evaluated(lambda g, x: g.column_scale(x, "decay", name="y")), X * W["decay"], rtol=1e-6
    )
    for tensor, row, added in (
        ("decay", None, W["decay"]),
        ("token_types.weight", 0, W["token_types.weight"][0]),
        ("token_types.weight", 1, W["token_types.weight"][1]),
        ("one_type.weight", 0, W["one_type.weight"]),
    ):
        actual = evaluated(lambda g, x, t=tensor, r=row: g.column_shift(x, t, name="y", row=r))  # type: ignore[misc]
        np.testing.assert_allclose(actual, X + added, rtol=1e-5, atol=1e-7)


def test_each_head_is_multiplied_by_its_own_matrix() -> None:
    actual = evaluated(lambda g, x: g.head_linear(x, "heads", 3, 5))
    for head, matrix in enumerate(W["heads.weight"]):
        expected = X[:, 4 * head : 4 * head + 4] @ matrix.T
        np.testing.assert_allclose(actual[:, 5 * head : 5 * head + 5], expected, rtol=1e-4, atol=1e-6)


def test_position_embeddings_are_the_rows_of_the_positions() -> None:
    actual = evaluated(
        lambda g, x: g.add(x, g.position_embedding("position_embd", WIDTH, context=16), name="y")
    )
    np.testing.assert_allclose(actual, X + W["position_embd.weight"][:COUNT], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("types", [None, [0, 1, 1, 0, 1, 0, 0]])
def test_type_embeddings_are_the_rows_of_the_types(types: list[int] | None) -> None:
    graph = graph_of(lambda g, x: g.add(x, g.type_embedding("token_types", WIDTH), name="y"))
    at = DirectRunner(NumpyBackend().compile(graph, TENSORS, CompileOptions(context=16, batch=3)))
    part = Part(at.new_sequence(), range(COUNT), want_all=True, types=types)
    expected = X + W["token_types.weight"][types or [0] * COUNT]
    np.testing.assert_allclose(at.run([part])[0]["hidden"], expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(ShapeError, match="a part has types, but not one for each of its tokens"):
        at.run([Part(part.sequence, range(3), types=[0, 1])])


def test_a_vector_is_the_embedding_of_the_only_type() -> None:
    actual = evaluated(lambda g, x: g.add(x, g.type_embedding("one_type", WIDTH), name="y"))
    np.testing.assert_allclose(actual, X + W["one_type.weight"], rtol=1e-5, atol=1e-7)
    assert graph_of(lambda g, x: g.type_embedding("one_type", WIDTH)).type_limit == 1
    assert graph_of(lambda g, x: g.type_embedding("token_types", WIDTH)).type_limit == 2
    assert graph_of(lambda g, x: x).type_limit == 1


@pytest.mark.parametrize("offset", [0, 1])
def test_a_scale_by_position_is_that_of_its_formula(offset: int) -> None:
    """Row by row as in transformers: Llama 4 has an offset of 1, Ministral 3 one of 0."""
    actual = evaluated(lambda g, x: g.position_scale(x, length=3, factor=0.1, offset=offset, name="y"))
    for position, row in enumerate(actual):
        if offset:
            scale = math.log1p(math.floor((float(position) + 1.0) / 3)) * 0.1 + 1.0
        else:
            scale = 1 + 0.1 * math.log(1 + math.floor(position / 3))
        np.testing.assert_allclose(row, X[position] * scale, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda g, x: g.unary(x, "mish", name="y"), "there is no kind 'mish' of unary operation"),
        (lambda g, x: g.l2_norm(x, 0.1, group=5, name="y"), "12 elements is not whole groups of 5"),
        (lambda g, x: g.l2_norm(x, 0.1, group=0, name="y"), "12 elements is not whole groups of 0"),
        (lambda g, x: g.rms_norm(x, "norm", 0.1, groups=5), "12 elements is not 5 whole groups"),
        (lambda g, x: g.column_scale(x, "absent", name="y"), "tensor absent is missing"),
        (lambda g, x: g.column_shift(x, "heads.weight", name="y"), r"heads.weight has shape \(3, 5, 4\)"),
        (lambda g, x: g.column_shift(x, "token_types.weight", row=2, name="y"), "its row is 2, but token_ty"),
        (lambda g, x: g.column_shift(x, "one_type.weight", row=1, name="y"), "its row is 1, but one_type"),
        (lambda g, x: g.column_shift(x, "square.weight", row=1, name="y"), "needs rows of 12"),
        (lambda g, x: g.head_linear(x, "heads", 5, 5), "12 elements is not whole heads, of 5"),
        (lambda g, x: g.head_linear(x, "heads", 0, 5), "12 elements is not whole heads, of 0"),
        (
            lambda g, x: g.head_linear(x, "heads", 3, 4),
            r"shape \(3, 5, 4\).* needs \(3, 4, 4\)",
        ),
        (lambda g, x: g.position_embedding("position_embd", 11, context=1), "needs rows of 11"),
        (lambda g, x: g.type_embedding("token_types", 11), "needs rows of 11"),
        (lambda g, x: g.type_embedding("heads", 4), "needs rows of 4"),
        (lambda g, x: g.position_scale(x, length=0, factor=1.0, name="y"), "its length is 0"),
        (lambda g, x: g.position_scale(x, length=1, factor=math.nan, name="y"), "its factor is nan"),
        (lambda g, x: g.position_scale(x, length=1, factor=1.0, offset=-1, name="y"), "its offset is -1"),
        (
            lambda g, x: g.position_scale(g.select(x, name="w"), length=1, factor=1.0, name="y"),
            "positions belong to tokens",
        ),
    ],
)
def test_misfits_are_refused_by_name(build: Build, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        evaluated(build)


def test_a_group_and_groups_are_not_both_given() -> None:
    with pytest.raises(PluginError, match="norm: give group or groups, not both"):
        evaluated(lambda g, x: g.rms_norm(x, "norm", 0.1, group=4, groups=3))


def test_a_context_beyond_the_positions_of_the_file_is_refused_when_built_and_when_compiled() -> None:
    with pytest.raises(UnsupportedError, match=r"context 21 .* 20 positions .* with context=20"):
        evaluated(lambda g, x: g.position_embedding("position_embd", WIDTH, context=21))
    with pytest.raises(UnsupportedError, match="context is 21, but the model has embeddings of 20 positions"):
        evaluated(lambda g, x: g.position_embedding("position_embd", WIDTH, context=20), context=21)


def test_mutants_of_these_operations_are_those_that_authors_would_make() -> None:
    def build(g: GraphBuilder, x: Value) -> Value:
        x = g.add(x, g.position_embedding("position_embd", WIDTH, context=16), name="placed")
        x = g.add(x, g.type_embedding("token_types", WIDTH), name="of its type")
        x = g.layer_norm(g.rms_norm(x, "norm", 0.1, groups=3), None, 0.1, name="plain")
        x = g.column_shift(g.unary(x, "tanh", name="tanh"), "token_types.weight", row=0, name="typed")
        x = g.rms_norm(x, "norm_of_groups", 0.1, groups=3)
        x = g.position_scale(g.head_linear(x, "square", 3, 4), length=3, factor=0.5, name="tempered")
        return g.l2_norm(g.column_scale(x, "decay", name="decayed"), 0.1, group=4, name="unit")

    graph = graph_of(build)
    expected = {
        "position_embd: of the next positions",
        "token_types: of type 0 alone",
        "token_types: of the next types",
        "norm: groups left out",
        "norm: groups is 2, not 3",
        "norm: groups is 6, not 3",
        "norm_of_groups: groups is 2, not 3",
        "norm_of_groups: norm_of_groups.weight reversed",
        "tanh: kind is sigmoid",
        "typed: row is 1, not 0",
        "square: square.weight of the heads in reverse",
        "square: square.weight transposed",
        "tempered: offset is 1, not 0",
        "tempered: length is 2, not 3",
        "tempered: factor is -0.5, not 0.5",
        "decayed: decay negated",
        "unit: group is 3, not 4",
    }
    found = {mutant.name: mutant for mutant in mutants(graph)}
    assert expected <= {*found}
    own = Evaluation(graph, float_weights(graph, TENSORS), range(COUNT), [0, 1, 1, 0, 1, 0, 0])
    for name in expected:
        changed = own.outputs(own.changed(found[name].operations))["hidden"]
        assert np.abs(changed - own.outputs()["hidden"]).max() > 1e-4, name
