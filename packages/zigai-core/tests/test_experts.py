"""Routing and experts against the formulas of their papers, computed in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import ShapeError, UnsupportedError
from zigai_core.contracts.graph import Graph, Value
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import Route, activate
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend.base import OPTIONS, outputs_of
from zigai_core.testing.backend.experts import (
    BIAS,
    EXPERTS,
    HIDDEN,
    LAYERS,
    ROUTES,
    USED,
    VOCABULARY,
    WIDTH,
    experts_graph,
    experts_tensors,
)
from zigai_core.testing.toys import random_tensor


class Step:
    """The part of a step that `Route` uses."""

    def __init__(self, scores: list[list[float]], bias: list[float] | None = None) -> None:
        self.scores = np.array(scores, np.float32)
        self.bias = None if bias is None else np.array(bias, np.float32)

    def __getitem__(self, value: Value) -> np.ndarray:
        return self.scores

    def weight(self, weight: object) -> np.ndarray:
        assert self.bias is not None
        return self.bias


def routed(scores: list[float], used: int, bias: list[float] | None = None, **how: Any) -> list[float]:
    value, width = Value("scores", len(scores)), len(scores)
    weight: Any = None if bias is None else "bias"
    route = Route(Value("shares", width), value, used, bias=weight, **how)
    assert route.fault() is None
    step: Any = Step([scores], bias)
    with np.errstate(all="ignore"):
        return route.evaluate(step)[0].tolist()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("groups", [1, 3])
def test_a_step_without_output_rows_has_no_shares(groups: int) -> None:
    step: Any = Step([])
    step.scores = np.zeros((0, 6), np.float32)
    route = Route(Value("shares", 6), Value("scores", 6), 2, groups=groups, groups_used=1)
    assert route.evaluate(step).shape == (0, 6)


LOG = [math.log(share) for share in (0.1, 0.4, 0.2, 0.3)]


@pytest.mark.parametrize(
    ("how", "shares"),
    [
        ({}, [0, 0.4, 0, 0.3]),
        ({"renormalise": True}, [0, 4 / 7, 0, 3 / 7]),
        ({"renormalise": True, "epsilon": 0.3, "scale": 2.0}, [0, 0.8, 0, 0.6]),
        ({"kind": "softmax_chosen"}, [0, 4 / 7, 0, 3 / 7]),
        ({"kind": "sigmoid"}, [0, sigmoid(LOG[1]), 0, sigmoid(LOG[3])]),
        ({"bias": [1.0, 0, 0, 0]}, [0.1, 0.4, 0, 0]),
        ({"kind": "softmax_chosen", "bias": [9.0, 0, 0, 0]}, [0.2, 0.8, 0, 0]),
        # Without the bias, both groups have a rank of 0.5; by their best expert, 0.4 and 0.3.
        ({"groups": 2, "groups_used": 1, "group_best": 2, "bias": [0.01, 0, 0, 0]}, [0.1, 0.4, 0, 0]),
        ({"groups": 2, "groups_used": 1, "group_best": 2, "bias": [0, 0, 0.01, 0]}, [0, 0, 0.2, 0.3]),
        ({"groups": 2, "groups_used": 1, "group_best": 1, "bias": [0, 0, 0.01, 0]}, [0.1, 0.4, 0, 0]),
    ],
)
def test_shares_equal_those_of_the_formula(how: dict[str, Any], shares: list[float]) -> None:
    np.testing.assert_allclose(routed(LOG, 2, **how), shares, atol=1e-6)


def test_of_equal_scores_the_first_experts_are_used() -> None:
    assert routed([1.0] * 4, 2) == [0.25, 0.25, 0, 0]
    assert routed([1.0] * 4, 3, groups=2, groups_used=2, kind="sigmoid")[3] == 0


def test_experts_outside_the_best_groups_are_not_chosen_even_if_all_others_are_negative() -> None:
    shares = routed([0, 0, 0, 0], 2, bias=[-9, 5, -math.inf, -9], kind="sigmoid", groups=2, groups_used=1)
    assert shares == [0.5, 0.5, 0, 0]
    assert routed([0, 0], 2, bias=[-math.inf, 0], kind="sigmoid") == [0.5, 0.5]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "softmax_chosen"])
def test_a_nan_in_a_row_makes_all_its_shares_nan(kind: str) -> None:
    assert np.isnan(routed([0, math.nan, 1, 2], 2, kind=kind)).all()
    assert np.isnan(routed([0, 1], 1, bias=[0, math.nan], kind=kind)).all()
    infinite = [math.inf, -math.inf, 0, 0]
    assert np.isnan(routed([0] * 4, 1, bias=infinite, kind=kind, groups=2, group_best=2)).all()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"used": 2.5}, "used is 2.5, not a whole number"),
    ({"groups": True}, "groups is True, not a whole number"),
    ({"used": 0}, "0 of 8 experts are used"),
    ({"used": 9}, "9 of 8 experts are used"),
    ({"groups": 3}, "8 experts cannot be divided into 3 groups of equal size"),
    ({"groups": 0}, "8 experts cannot be divided into 0 groups"),
    ({"groups": 4, "groups_used": 5}, "5 of 4 groups are used"),
    ({"groups": 4, "groups_used": 0}, "0 of 4 groups are used"),
    ({"groups": 4, "groups_used": 2, "group_best": 3}, "group_best is 3, but a group has 2 experts"),
    ({"groups": 4, "groups_used": 1, "used": 3}, "3 experts are used, but 1 groups have 2"),
    ({"scale": math.nan}, "its scale is nan"),
    ({"scale": math.inf}, "its scale is inf"),
    ({"epsilon": math.nan}, "its epsilon is nan"),
    ({"epsilon": -1.0}, "its epsilon is -1.0"),
]


@pytest.mark.parametrize(("how", "words"), WRONG)
def test_a_route_with_invalid_attributes_is_refused_by_name(how: dict[str, Any], words: str) -> None:
    g = GraphBuilder(experts_tensors(biases=False))
    scores = g.linear(g.embedding("token_embd", WIDTH), "blk.0.ffn_gate_inp", EXPERTS)
    with pytest.raises(ShapeError, match=f"^shares: {words}"):
        g.route(scores, name="shares", **{"used": 2, **how})


def test_a_selection_bias_of_the_wrong_shape_is_refused_by_name() -> None:
    tensors = experts_tensors(biases=False)
    tensors[BIAS] = random_tensor(BIAS, (EXPERTS + 1,), "F32", np.random.RandomState(0), 1)
    with pytest.raises(
        ShapeError, match=r"exp_probs_b\.bias has shape \(9,\); the architecture needs \(8,\)"
    ):
        experts_graph(tensors, {"bias": BIAS})


def test_an_unknown_kind_of_route_or_activation_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="shares: there is no route of kind 'hash'"):
        routed(LOG, 2, kind="hash")
    unknown: Any = "tanh"
    with pytest.raises(UnsupportedError, match="there is no activation 'tanh'"):
        activate(np.zeros(1, np.float32), unknown)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"used": 2.5}, "used is 2.5, not a whole number"),
        ({"used": 9}, "9 of 8 experts are used"),
        ({"used": 0}, "0 of 8 experts are used"),
        ({"limit": math.nan}, "its limit is nan"),
        ({"limit": 0.0}, "its limit is 0.0"),
        ({"limit": -1.0}, "its limit is -1.0"),
        ({"up_offset": math.inf}, "its up_offset is inf"),
    ],
)
def test_experts_with_invalid_attributes_are_refused_by_name(layer: dict[str, Any], words: str) -> None:
    with pytest.raises(ShapeError, match=rf"blk\.0\.ffn_experts: {words}"):
        experts_graph(experts_tensors(biases=False), layer=layer)


@pytest.mark.parametrize(("part", "shape"), [("gate", (EXPERTS, WIDTH)), ("down", (WIDTH,))])
def test_a_bias_of_experts_of_the_wrong_shape_is_refused_by_name(part: str, shape: tuple[int, ...]) -> None:
    name = f"blk.0.ffn_{part}_exps.bias"
    tensors = experts_tensors(biases=False)
    tensors[name] = random_tensor(name, shape, "F32", np.random.RandomState(0), 1)
    with pytest.raises(ShapeError, match=f"{name.replace('.', '[.]')} has shape"):
        experts_graph(tensors)


def test_shares_and_input_of_different_rows_are_refused() -> None:
    g = GraphBuilder(experts_tensors(biases=False))
    x = g.embedding("token_embd", WIDTH)
    shares = g.route(g.linear(x, "blk.0.ffn_gate_inp", EXPERTS), used=1, name="shares")
    with pytest.raises(ShapeError, match="token_embd has tokens rows and wanted has wanted"):
        g.experts(x, g.select(shares), "blk.0", used=1, hidden=HIDDEN)


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_experts_equal_their_formula_in_float64(layer: dict[str, Any], biases: bool) -> None:
    tensors = experts_tensors(biases=biases)
    outputs = outputs_of(
        NumpyBackend().compile(experts_graph(tensors, layer=layer), tensors, OPTIONS), range(VOCABULARY)
    )
    w = {name: tensor.to_float32().astype(np.float64) for name, tensor in tensors.items()}
    used, limit = layer.get("used", USED), layer.get("limit", math.inf)

    def linear(part: str, expert: int, x: np.ndarray) -> np.ndarray:
        y = w[f"blk.0.ffn_{part}_exps.weight"][expert] @ x
        return y + w[f"blk.0.ffn_{part}_exps.bias"][expert] if biases else y

    for token in range(VOCABULARY):
        x, shares = w["token_embd.weight"][token], outputs["shares"][token].astype(np.float64)
        y = np.zeros(WIDTH)
        for expert in np.argsort(-shares)[:used]:
            share = shares[expert]
            inside = x * share if layer.get("weighted_input") else x
            gate, up = linear("gate", expert, inside), linear("up", expert, inside)
            gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit) + layer.get("up_offset", 0)
            active = activate(gate.astype(np.float32), layer.get("activation", "silu"))
            result = linear("down", expert, active * up)
            y += result if layer.get("weighted_input") else share * result
        np.testing.assert_allclose(outputs["y"][token], y, atol=1e-5)


def test_shares_may_come_from_any_operation_and_use_fewer_experts() -> None:
    tensors = experts_tensors(biases=True)
    g = GraphBuilder(tensors)
    x = g.embedding("token_embd", WIDTH)
    scores = g.linear(x, "blk.0.ffn_gate_inp", EXPERTS)
    shares = g.route(scores, used=2, name="shares")
    halved = g.scale(shares, -0.5, name="halved")
    g.output("y", g.select(g.experts(x, halved, "blk.0", used=4, hidden=HIDDEN)))
    halves = outputs_of(NumpyBackend().compile(g.finish(), tensors, OPTIONS), range(VOCABULARY))["y"]
    whole = outputs_of(
        NumpyBackend().compile(experts_graph(tensors, {}, {"used": 2}), tensors, OPTIONS), range(VOCABULARY)
    )
    order = np.argsort(-whole["shares"], axis=-1)
    # Each row of `whole` has three shares, of which two are used.
    assert (np.take_along_axis(whole["shares"], order, -1)[:, 2] > 0).all()
    np.testing.assert_allclose(halves, -0.5 * whole["y"], atol=1e-6)


def test_the_cases_of_the_conformance_suite_have_different_results() -> None:
    tensors = experts_tensors(biases=True)

    def result(route: dict[str, Any], layer: dict[str, Any]) -> bytes:
        graph: Graph = experts_graph(tensors, route, layer)
        return outputs_of(NumpyBackend().compile(graph, tensors, OPTIONS), [1, 2, 3])["y"].tobytes()

    assert len({result(route, {}) for route in ROUTES.values()}) == len(ROUTES)
    assert len({result({}, layer) for layer in LAYERS.values()}) == len(LAYERS)
