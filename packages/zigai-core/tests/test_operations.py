"""Operations that no decoder in this repository uses, against their formulas."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import WANTED, Value
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import Columns, activate
from zigai_core.testing.toys import random_tensor

RANDOM = np.random.RandomState(3)
TENSORS: dict[str, TensorInfo] = {
    name: random_tensor(name, shape, "F32", RANDOM, 1.0)
    for name, shape in (
        ("token_embd.weight", (5, 6)),
        ("norm.weight", (6,)),
        ("norm.bias", (6,)),
        ("plain.weight", (6,)),
    )
}
TOKENS = np.array([4, 0, 3, 3], dtype=np.int32)
X = TENSORS["token_embd.weight"].to_float32()[TOKENS].astype(np.float64)


class Step:
    """The part of a step that these operations use."""

    batch = SimpleNamespace(tokens=TOKENS, embeddings=None)

    def __init__(self) -> None:
        self.values: dict[str, np.ndarray] = {}

    def __getitem__(self, value: Value) -> np.ndarray:
        return self.values[value.name]

    def weight(self, weight) -> np.ndarray:
        return TENSORS[weight.name].to_float32()

    def weight_rows(self, weight, rows: np.ndarray) -> np.ndarray:
        return self.weight(weight)[rows]


def evaluated(build) -> np.ndarray:
    g = GraphBuilder(TENSORS)
    output = build(g, g.embedding("token_embd", 6))
    step = Step()
    for operation in g._operations:
        step.values[operation.output.name] = operation.evaluate(step)
    return step.values[output.name]


@pytest.mark.parametrize("name", ["norm", "plain"])
def test_layer_norm_equals_its_formula_with_and_without_bias(name: str) -> None:
    centred = X - X.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    expected = expected * TENSORS[f"{name}.weight"].to_float32()
    if name == "norm":
        expected = expected + TENSORS["norm.bias"].to_float32()
    np.testing.assert_allclose(evaluated(lambda g, x: g.layer_norm(x, name, 1e-5)), expected, atol=1e-5)


def test_soft_cap_equals_its_formula() -> None:
    actual = evaluated(lambda g, x: g.soft_cap(x, 0.5, name="capped"))
    np.testing.assert_allclose(actual, 0.5 * np.tanh(X / 0.5), atol=1e-6)


def test_multiply_scale_and_columns_equal_their_formulas() -> None:
    np.testing.assert_allclose(evaluated(lambda g, x: g.multiply(x, x, name="square")), X * X, atol=1e-5)
    np.testing.assert_allclose(evaluated(lambda g, x: g.scale(x, -3.0, name="scaled")), -3 * X, atol=1e-5)
    np.testing.assert_allclose(evaluated(lambda g, x: g.columns(x, 2, 3, name="some")), X[:, 2:5])


def test_columns_of_groups_are_those_of_each_group() -> None:
    found = evaluated(lambda g, x: g.columns(x, 1, 1, groups=2, name="some"))
    np.testing.assert_allclose(found, X[:, [1, 4]])
    found = evaluated(lambda g, x: g.columns(x, 0, 2, groups=2, name="some"))
    np.testing.assert_allclose(found, X[:, [0, 1, 3, 4]])


def test_columns_of_no_rows_are_none() -> None:
    x = Value("x", 6, WANTED)
    step: Any = {x: np.zeros((0, 6), np.float32)}
    assert Columns(Value("y", 4, WANTED), x, 1, 2).evaluate(step).shape == (0, 4)


@pytest.mark.parametrize(("start", "width", "groups"), [(2, 2, 2), (0, 1, 4), (0, 1, 0), (-1, 1, 2)])
def test_columns_outside_a_group_are_refused(start: int, width: int, groups: int) -> None:
    with pytest.raises(ShapeError, match=f"token_embd has 6 columns in {groups} groups, without {start}"):
        evaluated(lambda g, x: g.columns(x, start, width, groups=groups, name="some"))


def test_columns_outside_a_row_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"token_embd has 6 columns, without 4\.\.7"):
        evaluated(lambda g, x: g.columns(x, 4, 3, name="some"))


def test_a_limit_clamps_the_gate_from_above_and_up_from_both_sides() -> None:
    clamped = evaluated(
        lambda g, x: g.gated_activation(
            x, g.scale(x, -1.0, name="minus"), name="y", activation="relu", limit=0.5, up_offset=1.0
        )
    )
    np.testing.assert_allclose(clamped, np.clip(X, 0, 0.5) * (1 + np.clip(-X, -0.5, 0.5)), atol=1e-6)
    with pytest.raises(ShapeError, match="y: its limit is 0"):
        evaluated(lambda g, x: g.gated_activation(x, x, name="y", limit=0.0))


@pytest.mark.parametrize(
    ("name", "at_one"),
    [
        ("silu", 0.7310586),
        ("relu", 1.0),
        ("gelu", 0.8413447),
        ("gelu_tanh", 0.8411920),
        ("gelu_quick", 0.8457958),
    ],
)
def test_activations_have_their_known_values(name: str, at_one: float) -> None:
    values = activate(np.array([0.0, 1.0, -20.0, 20.0], dtype=np.float32), name)
    np.testing.assert_allclose(values, [0.0, at_one, 0.0, 20.0], atol=1e-6)
