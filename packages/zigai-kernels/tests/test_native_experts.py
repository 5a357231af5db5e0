from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Value, Weight
from zigai_core.contracts.plugins import Backend
from zigai_core.ops.operations import Experts, Route
from zigai_kernels import NativeBackend

ROWS = 23


def mixture(
    tools: Any,
    dtype: str,
    experts: int,
    used: int,
    *,
    hidden: int = 64,
    width: int = 32,
    biases: bool = False,
    route: Mapping[str, Any] | None = None,
    layer: Mapping[str, Any] | None = None,
) -> Any:
    """A graph of a Route with attributes `route` and Experts with attributes `layer`.

    `bias=True` in `route` stands for a random selection bias.
    """
    random = np.random.RandomState(3)
    sketch = tools.sketch()
    x = sketch.input("x", random.standard_normal((ROWS, width)))
    scores = 2 * random.standard_normal((ROWS, experts))
    scores[5] = 1.0  # all equal
    scores = sketch.input("scores", scores)
    how = dict(route or {})
    if how.get("bias"):
        how["bias"] = sketch.tensor("choice.bias", random.standard_normal(experts))
    shares = sketch.add(Route(Value("shares", experts), scores, used, **how))
    parts = {
        part: sketch.random(part, (experts, rows, columns), dtype, seed)
        for seed, (part, rows, columns) in enumerate(
            (("gate", hidden, width), ("up", hidden, width), ("down", width, hidden)), start=1
        )
    }
    if biases:
        for part, rows in (("gate", hidden), ("up", hidden), ("down", width)):
            parts[f"{part}_bias"] = sketch.tensor(f"{part}.bias", random.standard_normal((experts, rows)))
    sketch.add(Experts(Value("y", width), x, shares, **{"used": used, **parts, **(layer or {})}))
    return sketch


def shares_of(sketch: Any) -> Any:
    """The same sketch with the shares as its output."""
    sketch.operations = [op for op in sketch.operations if not isinstance(op, Experts)]
    return sketch


ROUTES: dict[str, dict[str, Any]] = {
    "softmax": {},
    "renormalised": {"renormalise": True, "scale": 3.0},
    "softmax of the chosen": {"kind": "softmax_chosen"},
    "sigmoid": {"kind": "sigmoid", "bias": True, "renormalise": True, "epsilon": 0.25, "scale": 2.5},
}
GROUPS: dict[str, dict[str, Any]] = {
    "none": {},
    "by their best": {"groups": 4, "groups_used": 2, "group_best": 1},
    "by their best two": {"groups": 4, "groups_used": 3, "group_best": 2},
    "one": {"groups": 2, "groups_used": 1, "group_best": 3},
    "all": {"groups": 8, "groups_used": 8, "group_best": 1},
}


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
@pytest.mark.parametrize("used", [1, 4])
def test_shares_agree_with_their_definition(
    tools: Any, backend: Backend, used: int, route: dict[str, Any], groups: dict[str, Any]
) -> None:
    sketch = shares_of(mixture(tools, "F32", 24, used, route=route | groups))
    y = tools.compare(backend, sketch, tools.batch(range(ROWS)), atol=1e-6)["logits"]
    assert (np.count_nonzero(y, axis=-1) == used).all()


LAYERS: dict[str, dict[str, Any]] = {
    "silu": {},
    "gelu_tanh": {"activation": "gelu_tanh"},
    "clamped": {"activation": "gelu_quick", "limit": 1.5, "up_offset": 1.0},
    "offset": {"up_offset": -0.5},
    "weighted input": {"weighted_input": True},
    "weighted input, clamped": {"weighted_input": True, "activation": "gelu", "limit": 0.5},
    "fewer": {"used": 2},
    "more": {"used": 5},
}


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("dtype", ["F32", "Q8_0"])
def test_experts_of_every_kind_agree_with_their_definition(
    tools: Any, backend: Backend, dtype: str, layer: dict[str, Any], biases: bool
) -> None:
    sketch = mixture(tools, dtype, 8, 3, biases=biases, layer=layer)
    if dtype == "F32":
        tools.compare(backend, sketch, tools.batch(range(ROWS)), atol=2e-3)
        return
    exact = tools.reference(sketch, tools.batch(range(ROWS)))
    y = sketch.bench(backend).run(tools.batch(range(ROWS)))["logits"]
    assert np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2)) < 0.03


@pytest.mark.parametrize("weighted", [False, True])
def test_experts_use_the_largest_nonzero_shares_of_any_source(
    tools: Any, backend: Backend, weighted: bool
) -> None:
    shares = np.random.RandomState(9).standard_normal((ROWS, 8))
    shares[:, 2] = 0
    shares[3] = 0
    shares[4, 1:] = 0
    shares[5, [0, 6]], shares[6] = np.nan, np.nan
    shares[7, [0, 6]] = np.inf
    sketch = mixture(tools, "F32", 8, 3, biases=True, layer={"weighted_input": weighted})
    sketch.tensor("scores.weight", shares)
    routed = next(op for op in sketch.operations if isinstance(op, Route))
    sketch.operations.remove(routed)
    last = sketch.operations[-1]
    sketch.operations[-1] = dataclasses.replace(last, shares=routed.scores)
    y = tools.compare(backend, sketch, tools.batch(range(ROWS)), atol=2e-3)["logits"]
    assert not y[3].any()
    assert np.isfinite(y[[0, 1, 2, 4]]).all()
    assert np.isnan(y[[5, 6]]).all()


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize(("experts", "used"), [(1, 1), (4, 4), (8, 2), (60, 4)])
def test_a_mixture_agrees_with_its_definition(
    tools: Any, backend: Backend, experts: int, used: int, renormalise: bool
) -> None:
    sketch = mixture(tools, "F32", experts, used, route={"renormalise": renormalise})
    tools.compare(backend, sketch, tools.batch(range(ROWS)), atol=2e-3)


@pytest.mark.parametrize("dtype", ["F16", "Q4_0", "Q8_0", "Q4_K"])
def test_a_quantised_mixture_is_near_its_definition(tools: Any, backend: Backend, dtype: str) -> None:
    wide = 256 if dtype.endswith("K") else 32
    sketch = mixture(tools, dtype, 8, 2, hidden=2 * wide, width=wide)
    graph = sketch.graph()
    bench = tools.bench(backend.compile(graph, sketch.tensors, tools.options))
    y = bench.run(tools.batch(range(ROWS)))["logits"]
    exact = tools.reference(sketch, tools.batch(range(ROWS)))
    assert np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2)) < 0.03


@pytest.mark.parametrize("layer", [{}, {"weighted_input": True}], ids=["plain", "weighted input"])
@pytest.mark.parametrize("dtype", ["F32", "Q8_0"])
def test_a_row_of_a_mixture_is_bitwise_the_same_in_every_batch(
    tools: Any, backend: Backend, dtype: str, layer: dict[str, Any]
) -> None:
    for threads in (1, 3):
        options = dataclasses.replace(tools.options, threads=threads)
        bench = mixture(tools, dtype, 8, 2, biases=True, layer=layer).bench(backend, options)
        whole = bench.run(tools.batch(range(ROWS)))["logits"]
        for row in range(ROWS):
            np.testing.assert_array_equal(bench.run(tools.batch([row]))["logits"][0], whole[row])


NAN: Any = float("nan")


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"used": 5}, "5 of 4 experts are used"),
        ({"used": 0}, "0 of 4 experts are used"),
        ({"groups": 3}, "4 experts cannot be divided into 3 groups of equal size"),
        ({"groups": -1}, "4 experts cannot be divided into -1 groups"),
        ({"groups": 2, "groups_used": 3}, "3 of 2 groups are used"),
        ({"groups": 2, "group_best": 3}, "group_best is 3, but a group has 2 experts"),
        ({"groups": 4, "used": 2}, "2 experts are used, but 1 groups have 1"),
        ({"scale": NAN}, "its scale is nan"),
        ({"epsilon": -NAN}, "its epsilon is nan"),
        ({"output": Value("shares", 5)}, "it has 4 scores, but 5 shares"),
        ({"bias": Weight("gate", (4, 64, 32))}, r"gate has shape \(4, 64, 32\), \(4,\) is needed"),
    ],
)
def test_a_route_that_does_not_fit_is_refused_by_name(tools: Any, route: dict[str, Any], words: str) -> None:
    sketch = mixture(tools, "F32", 4, 2)
    at = next(i for i, op in enumerate(sketch.operations) if isinstance(op, Route))
    sketch.operations[at] = dataclasses.replace(sketch.operations[at], **route)
    with pytest.raises(ShapeError, match=f"shares: {words}"):
        NativeBackend().compile(sketch.graph(), sketch.tensors, tools.options)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"used": 5}, "5 of 4 experts are used"),
        ({"used": -1}, "-1 of 4 experts are used"),
        ({"limit": NAN}, "its limit is nan"),
        ({"limit": -1.0}, "its limit is -1.0"),
        ({"up_offset": NAN}, "its up_offset is nan"),
        ({"gate": Weight("up", (4, 32, 64))}, r"up has shape \(4, 32, 64\), \(4, 32, 32\) is needed"),
        ({"down_bias": Weight("gate.bias", (4, 64))}, r"has shape \(4, 64\), \(4, 32\) is needed"),
        ({"up_bias": Weight("absent", (4, 64))}, "tensor absent is missing"),
        ({"shares": Value("scores", 3)}, "its input scores is"),
    ],
)
def test_experts_that_do_not_fit_are_refused_by_name(tools: Any, layer: dict[str, Any], words: str) -> None:
    sketch = mixture(tools, "F32", 4, 2, biases=True)
    sketch.operations[-1] = dataclasses.replace(sketch.operations[-1], **layer)
    with pytest.raises(ShapeError, match=f"y: .*{words}"):
        NativeBackend().compile(sketch.graph(), sketch.tensors, tools.options)


def test_too_many_experts_are_refused(tools: Any) -> None:
    with pytest.raises(ShapeError, match="more than 1024 experts"):
        sketch = shares_of(mixture(tools, "F32", 1025, 1, hidden=1, width=1))
        NativeBackend().compile(sketch.graph(), sketch.tensors, tools.options)


def test_a_kind_of_route_or_activation_without_a_kernel_is_named(tools: Any) -> None:
    sketch = mixture(tools, "F32", 4, 2, route={"kind": "hash"}, layer={"activation": "tanh"})
    assert NativeBackend().missing(sketch.graph(), sketch.tensors) == [
        "Route of kind 'hash'",
        "Experts with activation 'tanh'",
    ]


def test_experts_of_width_zero_are_refused(tools: Any) -> None:
    sketch = mixture(tools, "F32", 4, 2, hidden=0)
    with pytest.raises(ShapeError, match="4 experts of width 0"):
        NativeBackend().compile(sketch.graph(), sketch.tensors, tools.options)


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_nan_scores_give_nan_results(tools: Any, backend: Backend, route: dict[str, Any]) -> None:
    sketch = mixture(tools, "F32", 8, 2, route=route)
    scores = sketch.tensors["scores.weight"].to_float32().copy()
    scores[1, 3], scores[2] = np.nan, np.nan
    sketch.tensor("scores.weight", scores)
    y = sketch.bench(backend).run(tools.batch(range(4)))["logits"]
    assert np.isfinite(y[[0, 3]]).all()
    assert np.isnan(y[[1, 2]]).all()
