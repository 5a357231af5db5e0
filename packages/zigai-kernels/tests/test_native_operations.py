from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import WANTED, Value
from zigai_core.contracts.plugins import Backend
from zigai_core.ops.operations import (
    Add,
    Columns,
    Concat,
    GatedActivation,
    LayerNorm,
    Multiply,
    RMSNorm,
    Rope,
    Scale,
    Select,
    SigmoidGate,
    SoftCap,
)
from zigai_kernels import NativeBackend

WIDTHS = [1, 5, 16, 37, 256]


def rows(width: int, seed: int = 0, count: int = 7) -> Any:
    return np.random.RandomState(seed).standard_normal((count, width)) * 3


@pytest.mark.parametrize("width", WIDTHS)
def test_rms_norm_agrees_with_its_definition(tools: Any, backend: Backend, width: int) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", rows(width))
    sketch.add(RMSNorm(Value("y", width), x, sketch.tensor("w", rows(width, 1, 1)[0]), 1e-5))
    tools.compare(backend, sketch, tools.batch(range(7)))


@pytest.mark.parametrize(("heads", "head_dim"), [(1, 6), (3, 8), (5, 33)])
def test_rms_norm_of_groups_agrees_with_its_definition(
    tools: Any, backend: Backend, heads: int, head_dim: int
) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", rows(heads * head_dim))
    weight = sketch.tensor("w", rows(head_dim, 1, 1)[0])
    sketch.add(RMSNorm(Value("y", heads * head_dim), x, weight, 1e-6))
    tools.compare(backend, sketch, tools.batch(range(7)))


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_norm_weights_of_other_float_types_are_converted(tools: Any, backend: Backend, dtype: str) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", rows(48))
    sketch.add(RMSNorm(Value("y", 48), x, sketch.tensor("w", rows(48, 1, 1)[0], dtype), 1e-5))
    tools.compare(backend, sketch, tools.batch(range(7)))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("bias", [False, True])
def test_layer_norm_agrees_with_its_definition(tools: Any, backend: Backend, width: int, bias: bool) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", rows(width))
    weight = sketch.tensor("w", rows(width, 1, 1)[0])
    added = sketch.tensor("b", rows(width, 2, 1)[0]) if bias else None
    sketch.add(LayerNorm(Value("y", width), x, weight, 1e-5, added))
    tools.compare(backend, sketch, tools.batch(range(7)))


@pytest.mark.parametrize("pairing", ["adjacent", "half"])
@pytest.mark.parametrize(("head_dim", "pairs"), [(2, 1), (6, 2), (16, 8), (80, 40), (64, 16)])
def test_rope_agrees_with_its_definition(
    tools: Any, backend: Backend, pairing: Any, head_dim: int, pairs: int
) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", rows(3 * head_dim))
    frequencies = (10000.0 ** (-np.arange(pairs) / pairs)).astype(np.float32)
    turned = sketch.add(Rope(Value("y", 3 * head_dim), x, head_dim, frequencies, pairing, 1.3))
    sketch.add(Rope(Value("z", 3 * head_dim), turned, head_dim, 2 * frequencies, pairing))
    tools.compare(backend, sketch, tools.batch(range(7), first=50))


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh", "gelu_quick", "relu"])
@pytest.mark.parametrize("width", WIDTHS)
def test_gated_activations_agree_with_their_definition(
    tools: Any, backend: Backend, activation: Any, width: int
) -> None:
    sketch = tools.sketch()
    gate = sketch.input("gate", 4 * rows(width))
    up = sketch.input("up", rows(width, 1))
    sketch.add(GatedActivation(Value("y", width), gate, up, activation))
    tools.compare(backend, sketch, tools.batch(range(7)))


@pytest.mark.parametrize(("limit", "offset"), [(1.5, 0.0), (7.0, 1.0), (None, -0.25)])
@pytest.mark.parametrize("width", WIDTHS)
def test_clamped_activations_agree_with_their_definition(
    tools: Any, backend: Backend, width: int, limit: float | None, offset: float
) -> None:
    sketch = tools.sketch()
    gate, up = 4 * rows(width), 4 * rows(width, 1)
    gate[1, 0], up[2, 0], up[3, 0] = np.nan, np.nan, np.inf
    gate, up = sketch.input("gate", gate), sketch.input("up", up)
    sketch.add(GatedActivation(Value("y", width), gate, up, "gelu_quick", limit, offset))
    y = tools.compare(backend, sketch, tools.batch(range(7)))["logits"]
    assert np.isnan(y[[1, 2], 0]).all()


def test_a_nan_limit_of_an_activation_is_refused_by_name(tools: Any) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", rows(8))
    sketch.add(GatedActivation(Value("y", 8), x, x, "silu", float("nan")))
    with pytest.raises(ShapeError, match="GatedActivation y: its limit is nan"):
        NativeBackend().compile(sketch.graph(), sketch.tensors, tools.options)


def test_activations_agree_with_their_definition_at_the_ends_of_the_range(
    tools: Any, backend: Backend
) -> None:
    sketch = tools.sketch()
    ends = np.array([[-3e38, -200, -88, -20, -1e-30, 0, 1e-30, 20, 88, 200, 3e38]])
    gate, up = sketch.input("gate", ends), sketch.input("up", np.ones_like(ends))
    for name in ("silu", "gelu", "gelu_quick", "relu"):
        sketch.add(GatedActivation(Value(name, ends.shape[1]), gate, up, name))
        tools.compare(backend, sketch, tools.batch([0]), atol=1e-30 if name == "relu" else 1e-6)
        sketch.operations.pop()
        sketch.operations.pop()


@pytest.mark.parametrize("width", WIDTHS)
def test_elementwise_operations_agree_with_their_definition(tools: Any, backend: Backend, width: int) -> None:
    sketch = tools.sketch()
    a, b = sketch.input("a", rows(width)), sketch.input("b", rows(width, 1))
    added = sketch.add(Add(Value("add", width), a, b))
    product = sketch.add(Multiply(Value("multiply", width), added, b))
    scaled = sketch.add(Scale(Value("scale", width), product, -0.37))
    sketch.add(SoftCap(Value("cap", width), scaled, 2.5))
    tools.compare(backend, sketch, tools.batch(range(7)))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_sigmoid_gate_agrees_with_its_definition(tools: Any, backend: Backend, width: int) -> None:
    sketch = tools.sketch()
    x, y = sketch.input("x", rows(width)), sketch.input("y", rows(11, 1))
    weight = sketch.tensor("w", rows(width, 2, 1)[0] / width**0.5)
    sketch.add(SigmoidGate(Value("gated", 11), x, y, weight))
    tools.compare(backend, sketch, tools.batch(range(7)))


def test_columns_agree_with_their_definition(tools: Any, backend: Backend) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", rows(37))
    parts = [sketch.add(Columns(Value(f"from {start}", 9), x, start)) for start in (0, 5, 28)]
    sketch.add(Add(Value("y", 9), sketch.add(Multiply(Value("z", 9), parts[0], parts[1])), parts[2]))
    tools.compare(backend, sketch, tools.batch(range(7)))


@pytest.mark.parametrize(
    ("groups", "start", "part"), [(1, 3, 30), (3, 0, 12), (4, 5, 4), (9, 1, 3), (36, 0, 1)]
)
def test_columns_of_groups_agree_with_their_definition(
    tools: Any, backend: Backend, groups: int, start: int, part: int
) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", rows(36))
    sketch.add(Columns(Value("y", groups * part), x, start, groups))
    tools.compare(backend, sketch, tools.batch(range(7)))


@pytest.mark.parametrize(
    ("groups", "left", "right"), [(1, 3, 30), (1, 33, 1), (3, 12, 3), (4, 20, 36), (9, 9, 18), (36, 36, 36)]
)
@pytest.mark.parametrize("shared", [False, True])
def test_joined_groups_agree_with_their_definition(
    tools: Any, backend: Backend, groups: int, left: int, right: int, shared: bool
) -> None:
    sketch = tools.sketch()
    a, b = sketch.input("a", rows(left)), sketch.input("b", rows(right, seed=1))
    width = left + right * (groups if shared else 1)
    sketch.add(Concat(Value("y", width), a, b, groups, shared))
    tools.compare(backend, sketch, tools.batch(range(7)))


def test_soft_cap_is_accurate_for_small_numbers(tools: Any, backend: Backend) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", np.array([[1e-6, -1e-3, 0.2, 0.25, 0.26, -0.9, 5, -40, 1e30]]))
    sketch.add(SoftCap(Value("cap", 9), x, 1.0))
    tools.compare(backend, sketch, tools.batch([0]), atol=0)


def test_select_gives_the_wanted_rows_in_their_order(tools: Any, backend: Backend) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", rows(5))
    picked = sketch.add(Select(Value("wanted", 5, WANTED), x))
    sketch.add(Scale(Value("y", 5, WANTED), picked, 2.0))
    for wanted in ([6, 0, 3, 3], [2], []):
        y = tools.compare(backend, sketch, tools.batch(range(7), wanted=wanted))["logits"]
        assert y.shape == (len(wanted), 5)


def test_long_rows_are_bitwise_the_same_alone_and_in_a_batch(tools: Any, backend: Backend) -> None:
    width = 4099  # neither a chunk nor a vector divides it
    sketch = tools.sketch()
    gate, up = sketch.input("gate", rows(width)), sketch.input("up", rows(width, 1))
    sketch.add(GatedActivation(Value("y", width), gate, up, "silu"))
    bench = sketch.bench(backend, dataclasses.replace(tools.options, threads=3))
    whole = bench.run(tools.batch(range(7)))["logits"]
    for row in range(7):
        np.testing.assert_array_equal(bench.run(tools.batch([row]))["logits"][0], whole[row])
