"""Unary operations, norms of groups, vectors, positions and matrices of heads, against formulas."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args

import numpy as np
import pytest

from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import ShapeError, UnsupportedError
from zigai_core.contracts.graph import WANTED, Value, Weight
from zigai_core.contracts.plugins import Backend
from zigai_core.ops.operations import (
    ColumnScale,
    ColumnShift,
    HeadLinear,
    L2Norm,
    LayerNorm,
    Linear,
    PositionEmbedding,
    PositionScale,
    RMSNorm,
    Select,
    TypeEmbedding,
    Unary,
    UnaryKind,
)
from zigai_kernels import NativeBackend
from zigai_kernels.storage import CONVERTED, STORAGE

WIDTHS = [1, 5, 16, 37, 256]

FORMULAS = {
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "gelu_quick": lambda x: x / (1 + math.exp(-1.702 * x)),
    "relu": lambda x: max(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "softplus": lambda x: x if x > 20 else math.log1p(math.exp(x)),
    "relu_squared": lambda x: max(x, 0.0) ** 2,
}
"""In double precision."""


def rows(width: int, seed: int = 0, count: int = 7) -> Any:
    return np.random.RandomState(seed).standard_normal((count, width)) * 3


def test_every_kind_of_unary_operation_has_a_formula_here() -> None:
    assert {*FORMULAS} == {*get_args(UnaryKind)}


@pytest.mark.parametrize("kind", get_args(UnaryKind))
@pytest.mark.parametrize("width", WIDTHS)
def test_unary_operations_agree_with_their_formulas(
    tools: Any, backend: Backend, kind: Any, width: int
) -> None:
    sketch = tools.sketch()
    x = (4 * rows(width)).astype(np.float32)
    sketch.add(Unary(Value("y", width), sketch.input("x", x), kind))
    y = tools.compare(backend, sketch, tools.batch(range(7)))["logits"]
    expected = np.vectorize(FORMULAS[kind])(x.astype(np.float64))
    np.testing.assert_allclose(y, expected, rtol=2e-6, atol=2e-6)


def test_gelu_is_accurate_relative_to_its_own_size(tools: Any, backend: Backend) -> None:
    """Where 1 + erf has no digits left, too."""
    x = np.concatenate([np.linspace(-12, 12, 4001), [-1e-6, 0, 1e-6, -40, 40, -1e30, 1e30]]).astype(
        np.float32
    )
    sketch = tools.sketch()
    sketch.add(Unary(Value("y", len(x)), sketch.input("x", x[None]), "gelu"))
    y = sketch.bench(backend).run(tools.batch([0]))["logits"][0]
    expected = [v * math.erfc(-v / math.sqrt(2)) / 2 for v in x.astype(np.float64)]
    near = np.abs(x) <= 3
    np.testing.assert_allclose(y[near], np.array(expected)[near], rtol=1e-6)
    np.testing.assert_allclose(y, expected, rtol=8e-6, atol=1e-37)  # x^2 / 2 has an error of 6e-8 of itself


def test_softplus_is_accurate_relative_to_its_own_size(tools: Any, backend: Backend) -> None:
    x = np.concatenate([np.linspace(-80, 40, 997), [-1e-6, 0, 1e-6, 19.999, 20, 20.001, 1e30]])
    x = x.astype(np.float32)[None]
    sketch = tools.sketch()
    sketch.add(Unary(Value("y", x.shape[1]), sketch.input("x", x), "softplus"))
    y = sketch.bench(backend).run(tools.batch([0]))["logits"]
    np.testing.assert_allclose(y, np.vectorize(FORMULAS["softplus"])(x.astype(np.float64)), rtol=5e-7)


@pytest.mark.parametrize("kind", get_args(UnaryKind))
def test_unary_operations_keep_nan_and_have_their_limits(tools: Any, backend: Backend, kind: Any) -> None:
    x = np.array([[np.nan, 1e30, -1e30, np.inf]], np.float32)
    sketch = tools.sketch()
    sketch.add(Unary(Value("y", 4), sketch.input("x", x), kind))
    y = sketch.bench(backend).run(tools.batch([0]))["logits"][0]
    low = {"tanh": -1.0}.get(kind, 0.0)
    high = {"tanh": 1.0, "sigmoid": 1.0, "relu_squared": np.inf}.get(kind, np.float32(1e30))
    limit = 1.0 if kind in ("tanh", "sigmoid") else np.inf
    np.testing.assert_array_equal(y, np.array([np.nan, high, low, limit], np.float32))


@pytest.mark.parametrize(("groups", "group"), [(1, 6), (3, 8), (5, 33)])
def test_norms_of_groups_agree_with_their_formulas(
    tools: Any, backend: Backend, groups: int, group: int
) -> None:
    width = groups * group
    x, w = rows(width).astype(np.float32), rows(width, 1, 1)[0].astype(np.float32)
    parts = x.astype(np.float64).reshape(7, groups, group)
    power = (parts**2).sum(-1, keepdims=True)
    sketch = tools.sketch()
    given, weight = sketch.input("x", x), sketch.tensor("w", w)
    sketch.add(RMSNorm(Value("y", width), given, weight, 0.3, groups))
    y = tools.compare(backend, sketch, tools.batch(range(7)))["logits"]
    np.testing.assert_allclose(y, (parts / np.sqrt(power / group + 0.3)).reshape(7, width) * w, atol=1e-5)
    by_groups = tools.sketch()
    given, weight = by_groups.input("x", x), by_groups.tensor("w", w.reshape(groups, group))
    by_groups.add(RMSNorm(Value("y", width), given, weight, 0.3, groups))
    np.testing.assert_array_equal(tools.compare(backend, by_groups, tools.batch(range(7)))["logits"], y)
    sketch.add(L2Norm(Value("z", width), given, group, 0.3))
    z = tools.compare(backend, sketch, tools.batch(range(7)))["logits"]
    np.testing.assert_allclose(z, (parts / np.sqrt(power + 0.3)).reshape(7, width), atol=1e-5)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("bias", [False, True])
def test_layer_norm_without_a_weight_agrees_with_its_formula(
    tools: Any, backend: Backend, width: int, bias: bool
) -> None:
    x = rows(width).astype(np.float32)
    sketch = tools.sketch()
    added = sketch.tensor("b", rows(width, 2, 1)[0]) if bias else None
    sketch.add(LayerNorm(Value("y", width), sketch.input("x", x), None, 0.1, added))
    y = tools.compare(backend, sketch, tools.batch(range(7)))["logits"]
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 0.1)
    np.testing.assert_allclose(y, expected + (rows(width, 2, 1)[0] if bias else 0), atol=1e-5)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("width", WIDTHS)
def test_vectors_scale_and_shift_columns(tools: Any, backend: Backend, width: int, dtype: str) -> None:
    x = rows(width).astype(np.float32)
    sketch = tools.sketch()
    given = sketch.input("x", x)
    w, b = (sketch.tensor(name, rows(width, seed, 1)[0], dtype) for seed, name in enumerate("wb", 1))
    sketch.add(ColumnShift(Value("y", width), sketch.add(ColumnScale(Value("s", width), given, w)), b))
    y = tools.compare(backend, sketch, tools.batch(range(7)))["logits"]
    scale, shift = (sketch.tensors[name].to_float32() for name in "wb")
    np.testing.assert_allclose(y, x * scale + shift, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["F32", "F16", "Q8_0", "Q4_K"])
@pytest.mark.parametrize("selected", [False, True])
def test_a_row_of_a_matrix_shifts_columns(tools: Any, backend: Backend, dtype: str, selected: bool) -> None:
    x = rows(256).astype(np.float32)
    for row in (0, 2):
        sketch = tools.sketch()
        given = sketch.input("x", x)
        kind = WANTED if selected else "tokens"
        given = sketch.add(Select(Value("wanted", 256, WANTED), given)) if selected else given
        table = sketch.random("types", (3, 256), dtype)
        sketch.add(ColumnShift(Value("y", 256, kind), given, table, row))
        y = tools.compare(backend, sketch, tools.batch(range(7)))["logits"]
        np.testing.assert_allclose(y, x + sketch.tensors["types"].to_float32()[row], rtol=1e-6, atol=1e-6)


POSITIONS = [0, 3, 4, 5, 63, 8190, 8191, 8192, 16383, 2**31 - 1]


@pytest.mark.parametrize(("length", "factor", "offset"), [(8192, 0.1, 1), (4, -0.5, 0), (2**31 - 1, 3.0, 1)])
def test_scales_grow_with_positions(
    tools: Any, backend: Backend, length: int, factor: float, offset: int
) -> None:
    count = len(POSITIONS)
    x = rows(5, count=count).astype(np.float32)
    sketch = tools.sketch()
    sketch.add(PositionScale(Value("y", 5), sketch.input("x", x), length, factor, offset))
    batch = tools.batch(range(count), positions=[POSITIONS])
    y = tools.compare(backend, sketch, batch)["logits"]
    scales = [1 + factor * math.log(1 + (position + offset) // length) for position in POSITIONS]
    np.testing.assert_allclose(y, x * np.array(scales)[:, None], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["F32", "BF16", "Q4_0", "Q6_K"])
def test_position_embeddings_are_the_rows_of_positions(tools: Any, backend: Backend, dtype: str) -> None:
    sketch = tools.sketch()
    table = sketch.random("positions", (64, 256), dtype)
    sketch.add(PositionEmbedding(Value("y", 256), table))
    values = sketch.tensors["positions"].to_float32()
    y = tools.compare(backend, sketch, tools.batch(range(7), first=50))["logits"]
    np.testing.assert_array_equal(y, values[50:57])
    batch = tools.batch(range(3), positions=[[63, 0, 7], [1, 1, 1]])
    np.testing.assert_array_equal(tools.compare(backend, sketch, batch)["logits"][:3], values[[63, 0, 7]])


@pytest.mark.parametrize("dtype", ["F32", "BF16", "Q4_0", "Q6_K"])
def test_type_embeddings_are_the_rows_of_types(tools: Any, backend: Backend, dtype: str) -> None:
    sketch = tools.sketch()
    sketch.add(TypeEmbedding(Value("y", 256), sketch.random("types", (3, 256), dtype)))
    values = sketch.tensors["types"].to_float32()
    for types in ([2, 0, 1, 1, 0], [0, 0, 0, 0, 0], None):
        given = None if types is None else np.array(types, np.int32)
        batch = dataclasses.replace(tools.batch(range(5)), types=given)
        y = tools.compare(backend, sketch, batch)["logits"]
        np.testing.assert_array_equal(y, values[types or [0] * 5])


def test_types_beyond_the_embeddings_do_not_reach_c(tools: Any) -> None:
    sketch = tools.sketch()
    sketch.add(TypeEmbedding(Value("y", 8), sketch.random("types", (2, 8), "F32")))
    sketch.graph()
    bench = sketch.bench(NativeBackend())
    for wrong in (2, -1, 2**31 - 1, -(2**31)):
        types = np.array([0, 1, wrong], np.int32)
        with pytest.raises(ShapeError, match=rf"type {wrong} is outside 0\.\.1"):
            bench.run(dataclasses.replace(tools.batch(range(3)), types=types))
    with pytest.raises(ShapeError, match="2 types for 3 rows"):
        bench.run(dataclasses.replace(tools.batch(range(3)), types=np.zeros(2, np.int32)))


def test_positions_beyond_the_embeddings_do_not_reach_c(tools: Any) -> None:
    sketch = tools.sketch()
    sketch.add(PositionEmbedding(Value("y", 8), sketch.random("positions", (64, 8), "F32")))
    sketch.graph()
    bench = sketch.bench(NativeBackend())
    for wrong in (64, -1, 2**31 - 1, -(2**31)):
        with pytest.raises(ShapeError, match=rf"position {wrong} is outside 0\.\.63"):
            bench.run(tools.batch(range(3), positions=[[0, 1, wrong]]))
    options = dataclasses.replace(tools.options, context=65)
    with pytest.raises(UnsupportedError, match="context is 65, but the model has embeddings of 64 positions"):
        sketch.bench(NativeBackend(), options)


TYPES = [*STORAGE, *sorted(CONVERTED)]
SHAPES = [(1, 256, 24), (3, 256, 17), (5, 512, 33)]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("count", [1, 5, 40])
def test_each_head_is_multiplied_by_its_own_matrix(
    tools: Any, backend: Backend, dtype: str, count: int
) -> None:
    """Bitwise what `Linear` gives for the head alone, with the head's matrix."""
    for heads, inputs, outputs in SHAPES:
        assert inputs % DTYPES[dtype].block_size == 0
        x = rows(heads * inputs, count=count)
        sketch = tools.sketch()
        weight = sketch.random("w", (heads, outputs, inputs), dtype, std=0.05)
        sketch.add(HeadLinear(Value("y", heads * outputs), sketch.input("x", x), weight))
        y = sketch.bench(backend).run(tools.batch(range(count)))["logits"]
        stored = sketch.tensors["w"]
        for head in range(heads):
            alone = tools.sketch()
            nbytes = len(stored.data) // heads
            own = dataclasses.replace(
                stored, shape=(outputs, inputs), data=stored.data[head * nbytes : (head + 1) * nbytes]
            )
            given = alone.input("x", x[:, head * inputs : (head + 1) * inputs])
            alone.add(Linear(Value("y", outputs), given, alone.stored("w", own)))
            expected = alone.bench(backend).run(tools.batch(range(count)))["logits"]
            np.testing.assert_array_equal(y[:, head * outputs : (head + 1) * outputs], expected)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "I8"])
@pytest.mark.parametrize(("heads", "inputs", "outputs"), [(1, 1, 1), (3, 5, 7), (7, 33, 16), (2, 80, 100)])
def test_heads_of_any_width_agree_with_the_product_of_each(
    tools: Any, backend: Backend, dtype: str, heads: int, inputs: int, outputs: int
) -> None:
    for count in (1, 7, 33):
        x = rows(heads * inputs, count=count).astype(np.float32)
        sketch = tools.sketch()
        weight = sketch.random("w", (heads, outputs, inputs), dtype)
        sketch.add(HeadLinear(Value("y", heads * outputs), sketch.input("x", x), weight))
        y = sketch.bench(backend).run(tools.batch(range(count)))["logits"]
        matrices = sketch.tensors["w"].to_float32().astype(np.float64)
        expected = np.einsum("rhi,hoi->rho", x.reshape(count, heads, inputs), matrices)
        scale = np.abs(expected).max() + 1
        np.testing.assert_allclose(y, expected.reshape(count, -1), atol=2e-3 * scale)


def test_a_value_is_read_by_matrices_of_heads_and_by_a_whole_one(tools: Any, backend: Backend) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", rows(512, count=9))
    outs = []
    for heads in (2, 4):
        weight = sketch.random(f"w{heads}", (heads, 32, 512 // heads), "Q8_0", heads)
        outs.append(sketch.add(HeadLinear(Value(f"y{heads}", 32 * heads), x, weight)))
    outs.append(sketch.add(Linear(Value("y1", 32), x, sketch.random("w1", (32, 512), "Q8_0"))))
    named = {value.name: value for value in outs}
    graph, alone = sketch.graph(**named), {}
    at = tools.bench(backend.compile(graph, sketch.tensors, tools.options))
    for name in named:
        one = dataclasses.replace(graph, outputs={name: graph.outputs[name]})
        kept = {name, "x", f"{name}.wanted"}
        one = dataclasses.replace(one, operations=tuple(op for op in graph if op.output.name in kept))
        alone[name] = tools.bench(backend.compile(one, sketch.tensors, tools.options))
    together = at.run(tools.batch(range(9)))
    for name, bench in alone.items():
        np.testing.assert_array_equal(bench.run(tools.batch(range(9)))[name], together[name])


@pytest.mark.parametrize("dtype", ["F32", "F16", "Q8_0"])
def test_rows_are_bitwise_the_same_in_every_batch_and_with_every_number_of_threads(
    tools: Any, backend: Backend, dtype: str
) -> None:
    width, heads = 192, 6
    sketch = tools.sketch()
    x = sketch.input("x", rows(width, count=40))
    x = sketch.add(Unary(Value("a", width), x, "softplus"))
    x = sketch.add(L2Norm(Value("b", width), x, 32, 1e-6))
    x = sketch.add(RMSNorm(Value("c", width), x, sketch.tensor("w", rows(width, 1, 1)[0]), 1e-6, 4))
    x = sketch.add(PositionScale(Value("d", width), x, 3, 0.1, 1))
    x = sketch.add(HeadLinear(Value("e", heads * 40), x, sketch.random("h", (heads, 40, 32), dtype)))
    sketch.add(ColumnShift(Value("f", heads * 40), x, sketch.tensor("s", rows(heads * 40, 2, 1)[0])))
    graph = sketch.graph()
    results = []
    for threads in (1, 2, 3, 5):
        options = dataclasses.replace(tools.options, threads=threads)
        bench = tools.bench(backend.compile(graph, sketch.tensors, options))
        results.append(bench.run(tools.batch(range(40)))["logits"])
        for row in (0, 17, 39):
            alone = bench.run(tools.batch([row], positions=[[row]]))["logits"]
            np.testing.assert_array_equal(alone[0], results[0][row])
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


WRONG: list[tuple[Any, str]] = [
    (lambda x: HeadLinear(Value("y", 8), x, Weight("w3", (3, 4, 2))), "3 matrices of 4 by 2 do not fit"),
    (lambda x: HeadLinear(Value("y", 8), x, Weight("w", (8, 8))), "not that of a matrix for each head"),
    (lambda x: L2Norm(Value("y", 8), x, 3, 1e-6), "a row of 8 elements is not whole groups of 3"),
    (lambda x: L2Norm(Value("y", 8), x, 0, 1e-6), "a row of 8 elements is not whole groups of 0"),
    (lambda x: RMSNorm(Value("y", 8), x, Weight("v", (8,)), 1e-6, 3), "not 3 whole groups"),
    (lambda x: RMSNorm(Value("y", 8), x, Weight("v4", (4,)), 1e-6, 2), r"shape \(4,\) is not as wide"),
    (lambda x: ColumnScale(Value("y", 8), x, Weight("v4", (4,))), r"v4 has shape \(4,\), \(8,\) is needed"),
    (lambda x: ColumnShift(Value("y", 8), x, Weight("w", (8, 8)), 8), "its row is 8, but w has 8"),
    (lambda x: ColumnShift(Value("y", 8), x, Weight("v", (8,)), -1), "its row is -1, but v has 1"),
    (lambda x: PositionScale(Value("y", 8), x, 0, 0.1), "its length is 0"),
    (lambda x: PositionScale(Value("y", 8), x, 2**31, 0.1), "its length is 2147483648"),
    (lambda x: PositionScale(Value("y", 8), x, 8, math.inf), "its factor is inf"),
    (lambda x: PositionScale(Value("y", 8), x, 8, 0.1, -1), "its offset is -1"),
    (lambda x: PositionEmbedding(Value("y", 8, WANTED), Weight("w", (8, 8))), "positions belong to tokens"),
    (lambda x: PositionEmbedding(Value("y", 9), Weight("w", (8, 8))), r"\(8, 9\) is needed"),
]


@pytest.mark.parametrize(("build", "message"), WRONG)
def test_misfits_are_refused_before_c(tools: Any, build: Any, message: str) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", rows(8))
    for name, shape in (("w3", (3, 4, 2)), ("w", (8, 8)), ("v", (8,)), ("v4", (4,))):
        sketch.random(name, shape, "F32")
    sketch.add(build(x))
    options = dataclasses.replace(tools.options, context=8)
    with pytest.raises(ShapeError, match=message):
        NativeBackend().compile(sketch.graph(), sketch.tensors, options)


def test_an_unknown_kind_of_unary_operation_is_missing_by_name(tools: Any) -> None:
    sketch = tools.sketch()
    kind: Any = "mish"
    sketch.add(Unary(Value("y", 8), sketch.input("x", rows(8)), kind))
    assert list(NativeBackend().missing(sketch.graph(), sketch.tensors)) == ["Unary of kind 'mish'"]
