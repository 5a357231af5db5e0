"""The conformance suite for routing and experts."""

from __future__ import annotations

from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.graph import Graph
from zigai_core.ops.builder import GraphBuilder
from zigai_core.testing.backend.base import Conformance, outputs_of
from zigai_core.testing.toys import random_tensors

VOCABULARY, WIDTH, HIDDEN, EXPERTS, USED = 48, 32, 48, 8, 3
BIAS = "blk.0.exp_probs_b.bias"

ROUTES: dict[str, dict[str, Any]] = {
    "softmax": {},
    "softmax, renormalised": {"renormalise": True},
    "softmax of the chosen": {"kind": "softmax_chosen"},
    "softmax of the chosen, selection bias, groups": {
        "kind": "softmax_chosen",
        "bias": BIAS,
        "groups": 2,
        "groups_used": 1,
        "group_best": 3,
    },
    "softmax, groups by their best": {"groups": 4, "groups_used": 2, "group_best": 1, "scale": 16.0},
    "sigmoid": {"kind": "sigmoid"},
    "sigmoid, selection bias": {"kind": "sigmoid", "bias": BIAS, "renormalise": True, "epsilon": 0.5},
    "sigmoid, selection bias, groups by their best two": {
        "kind": "sigmoid",
        "bias": BIAS,
        "groups": 4,
        "groups_used": 2,
        "group_best": 2,
        "renormalise": True,
        "scale": 2.5,
        "epsilon": 1e-20,
    },
}
"""Keyword arguments of `GraphBuilder.route`, by a name for each case."""

LAYERS: dict[str, dict[str, Any]] = {
    "silu": {},
    "gelu": {"activation": "gelu"},
    "clamped": {"activation": "gelu_quick", "limit": 0.5, "up_offset": 1.0},
    "weighted input": {"weighted_input": True},
    "weighted input, clamped": {"weighted_input": True, "activation": "relu", "limit": 0.25},
    "fewer experts used than have shares": {"used": 2},
}
"""Keyword arguments of `GraphBuilder.experts`, by a name for each case."""


def experts_tensors(*, biases: bool) -> dict[str, TensorInfo]:
    """Returns an embedding, and a router and experts of layer 0, with biases or without."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (VOCABULARY, WIDTH),
        "blk.0.ffn_gate_inp.weight": (EXPERTS, WIDTH),
        BIAS: (EXPERTS,),
        "blk.0.ffn_gate_exps.weight": (EXPERTS, HIDDEN, WIDTH),
        "blk.0.ffn_up_exps.weight": (EXPERTS, HIDDEN, WIDTH),
        "blk.0.ffn_down_exps.weight": (EXPERTS, WIDTH, HIDDEN),
    }
    if biases:
        shapes["blk.0.ffn_gate_inp.bias"] = (EXPERTS,)
        for part, width in (("gate", HIDDEN), ("up", HIDDEN), ("down", WIDTH)):
            shapes[f"blk.0.ffn_{part}_exps.bias"] = (EXPERTS, width)
    tensors = random_tensors(shapes)
    embedding = tensors["token_embd.weight"].to_float32() * WIDTH**0.5
    stored = np.ascontiguousarray(embedding, np.float32).view(np.uint8).reshape(-1)
    old = tensors["token_embd.weight"]
    return {**tensors, old.name: TensorInfo(old.name, old.shape, old.dtype, stored)}


def experts_graph(
    tensors: dict[str, TensorInfo],
    route: dict[str, Any] | None = None,
    layer: dict[str, Any] | None = None,
    *,
    selected: bool = False,
) -> Graph:
    """Returns a graph of an embedding and a mixture of experts, with the keyword arguments of a case.

    Its outputs are `shares`, `[wanted, experts]`, and `y`, `[wanted, WIDTH]`. With `selected`, the experts
    are computed for output rows only.
    """
    g = GraphBuilder(tensors)
    x = g.embedding("token_embd", WIDTH)
    x = g.select(x) if selected else x
    scores = g.linear(x, "blk.0.ffn_gate_inp", EXPERTS)
    shares = g.route(scores, used=USED, name="blk.0.ffn_shares", **(route or {}))
    y = g.experts(x, shares, "blk.0", hidden=HIDDEN, **{"used": USED, **(layer or {})})
    for name, value in (("shares", shares), ("y", y)):
        g.output(name, value if selected else g.select(value, name=f"wanted_{name}"))
    return g.finish()


class ExpertsConformance(Conformance):
    """Tests of routing and experts of every kind."""

    def test_every_kind_of_route_agrees_with_the_reference(self) -> None:
        tensors = experts_tensors(biases=True)
        for name, route in ROUTES.items():
            graph = experts_graph(tensors, route)
            shares = self._outputs_agree(graph, tensors, range(VOCABULARY), name)["shares"]
            assert (np.count_nonzero(shares, axis=-1) == USED).all(), name

    def test_every_kind_of_experts_agrees_with_the_reference(self) -> None:
        for biases in (False, True):
            tensors = experts_tensors(biases=biases)
            for name, layer in LAYERS.items():
                graph = experts_graph(tensors, ROUTES["sigmoid"], layer)
                self._outputs_agree(graph, tensors, range(VOCABULARY), f"{name}, biases: {biases}")

    def test_experts_of_output_rows_only_agree_with_the_reference(self) -> None:
        tensors = experts_tensors(biases=True)
        for layer in LAYERS.values():
            graph = experts_graph(tensors, ROUTES["sigmoid, selection bias"], layer, selected=True)
            self._outputs_agree(graph, tensors, range(VOCABULARY))

    def test_a_row_of_experts_is_the_same_alone_as_in_a_batch(self) -> None:
        tensors = experts_tensors(biases=True)
        for layer in ({}, LAYERS["weighted input"]):
            graph = experts_graph(tensors, layer=layer)
            program = self._compile(graph, tensors)
            whole = outputs_of(program, range(VOCABULARY))["y"]
            for token in (0, 7, VOCABULARY - 1):
                self._close(outputs_of(program, [token])["y"][0], whole[token], program)
