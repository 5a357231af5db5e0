"""Weights in F64 and integers, which are converted to F32 at load."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES, DType
from zigai_core.contracts.graph import Value, Weight
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend
from zigai_core.ops.blocks import decoder, experts
from zigai_core.ops.operations import Embedding, Experts, LayerNorm, Linear, RMSNorm, Route
from zigai_core.testing.toys import random_tensor, toy_decoder
from zigai_kernels import NativeBackend

STORED = {"F64": "<f8", "I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}


def numbers(dtype: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[Any]:
    """Random numbers as they are stored, integers up to ±100."""
    values = np.random.RandomState(seed).standard_normal(shape)
    return (values if dtype == "F64" else np.clip(40 * values, -100, 100)).astype(STORED[dtype])


def store(sketch: Any, name: str, values: NDArray[Any], dtype: str) -> Weight:
    data = np.frombuffer(values.astype(STORED[dtype]).tobytes(), np.uint8)
    weight: Weight = sketch.stored(name, TensorInfo(name, values.shape, DTYPES[dtype], data))
    return weight


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (5, 7), (33, 65), (1000, 300)])
def test_a_product_is_bitwise_that_with_the_same_numbers_in_f32(
    tools: Any, backend: Backend, dtype: str, rows: int, width: int
) -> None:
    values, x = numbers(dtype, (rows, width)), np.random.RandomState(1).standard_normal((4, width))
    outputs = []
    for converted in (True, False):
        sketch = tools.sketch()
        inputs = sketch.input("x", x)
        weight = store(sketch, "w", values, dtype) if converted else sketch.tensor("w", values)
        sketch.add(Linear(Value("y", rows), inputs, weight))
        outputs.append(sketch.bench(backend).run(tools.batch(range(4)))["logits"])
    np.testing.assert_array_equal(*outputs)
    exact = x.astype(np.float32).astype(np.float64) @ values.astype(np.float64).T
    np.testing.assert_allclose(outputs[0], exact, rtol=1e-5, atol=1e-4 * np.abs(values).max())


EXTREMES = {
    "F64": (
        [1 / 3, 1e-300, -1e-40, 3.5e38, -1e300, np.inf, np.nan],
        [np.float32(1 / 3), 0, -1e-40, np.inf, -np.inf, np.inf, np.nan],
    ),
    "I8": ([-128, 127, 0], [-128, 127, 0]),
    "I16": ([-(2**15), 2**15 - 1], [-(2**15), 2**15 - 1]),
    "I32": ([-(2**31), 2**24 + 1, 2**31 - 1], [-(2.0**31), 2.0**24, 2.0**31]),
    "I64": ([-(2**63), 2**53 + 1, 2**63 - 1], [-(2.0**63), 2.0**53, 2.0**63]),
}


@pytest.mark.parametrize("dtype", STORED)
def test_numbers_are_rounded_to_f32_and_those_beyond_its_range_are_infinite(
    tools: Any, backend: Backend, dtype: str
) -> None:
    given, expected = EXTREMES[dtype]
    values = np.array(given, STORED[dtype])[:, None]
    sketch = tools.sketch()
    sketch.add(Embedding(Value("y", 1), store(sketch, "w", values, dtype)))
    y = sketch.bench(backend).run(tools.batch(range(len(values))))["logits"]
    np.testing.assert_array_equal(y[:, 0], np.array(expected, np.float32))


@pytest.mark.parametrize("dtype", ["F64", "I8", "I64"])
def test_experts_and_their_biases_agree_with_the_reference(tools: Any, backend: Backend, dtype: str) -> None:
    sketch, random = tools.sketch(), np.random.RandomState(3)
    experts, hidden, width = 5, 48, 33
    x = sketch.input("x", random.standard_normal((23, width)))
    scores = sketch.input("scores", random.standard_normal((23, experts)))
    shares = sketch.add(Route(Value("shares", experts), scores, 2))
    parts = {}
    for part, rows, columns in (("gate", hidden, width), ("up", hidden, width), ("down", width, hidden)):
        tensor = random_tensor(part, (experts, rows, columns), dtype, random, columns**-0.5)
        parts[part] = sketch.stored(part, tensor)
        parts[f"{part}_bias"] = store(
            sketch, f"{part}.bias", np.sign(numbers(dtype, (experts, rows), rows)), dtype
        )
    sketch.add(Experts(Value("y", width), x, shares, used=2, **parts))
    y = tools.compare(backend, sketch, tools.batch(range(23)), atol=1e-4)["logits"]
    assert np.abs(y).max() > 1


@pytest.mark.parametrize("dtype", STORED)
def test_norms_and_biases_agree_with_the_reference(tools: Any, backend: Backend, dtype: str) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", np.random.RandomState(3).standard_normal((7, 40)))
    vectors = [store(sketch, f"v{i}", numbers(dtype, (40,), i), dtype) for i in range(4)]
    x = sketch.add(RMSNorm(Value("a", 40), x, vectors[0], 1e-5))
    x = sketch.add(LayerNorm(Value("b", 40), x, vectors[1], 1e-5, vectors[2]))
    sketch.add(Linear(Value("y", 40), x, sketch.random("u", (40, 40), dtype), vectors[3]))
    tools.compare(backend, sketch, tools.batch(range(7)), atol=2e-3)


def test_the_report_names_the_type_in_the_file_and_the_conversion() -> None:
    model = toy_decoder(dtype="I8", tied=True, experts=4)
    reported: list[tuple[int, int]] = []
    program = NativeBackend("baseline").compile(
        decoder(model, context=64, feed_forward=experts(model.hyperparameters, renormalise=True)),
        model.tensors,
        CompileOptions(threads=1),
        lambda done, total: reported.append((done, total)),
    )
    lines = {line.tensor: line for line in program.report().tensors}
    kinds = {
        "token_embd.weight": ("embedding_f32, linear_f32", "converted to F32, F32 panels of 16 rows"),
        "blk.1.attn_q.weight": ("linear_f32", "F32 panels of 16 rows"),
        "blk.0.ffn_down_exps.weight": ("experts_f32", "F32 panels of 16 rows"),
    }
    for name, (kernel, packing) in kinds.items():
        line = lines[name]
        assert (line.dtype, line.kernel, line.packing) == ("I8", kernel, packing)
        assert line.nbytes == 4 * model.tensors[name].nbytes * len(kernel.split(", "))
    assert reported[-1] == (model.nbytes, model.nbytes)


def test_a_type_of_another_layout_is_not_taken_for_core_s_of_that_name(tools: Any) -> None:
    sketch = tools.sketch()
    other = TensorInfo("w", (4, 8), DType("I8", 2, 1, None), np.zeros(16, np.uint8))
    sketch.add(Embedding(Value("y", 8), sketch.stored("w", other)))
    assert list(NativeBackend().missing(sketch.graph(), sketch.tensors)) == ["Embedding with I8 weights (w)"]


def test_a_converted_tensor_is_released(tools: Any, backend: Backend) -> None:
    sketch, released = tools.sketch(), list[str]()
    for name in ("table", "matrix"):
        sketch.random(name, (32, 32), "I16")
        sketch.tensors[name] = sketch.tensors[name].changed(release=lambda name=name: released.append(name))
    x = sketch.add(Embedding(Value("x", 32), Weight("table", (32, 32))))
    sketch.add(Linear(Value("y", 32), x, Weight("matrix", (32, 32))))
    sketch.bench(backend)
    assert sorted(released) == ["matrix", "table"]
