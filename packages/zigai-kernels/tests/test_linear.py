from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.graph import Value
from zigai_core.contracts.plugins import Backend
from zigai_core.ops.operations import Embedding, Linear
from zigai_core.testing.toys import USUAL_SCALES, random_tensor, set_scales
from zigai_kernels import NativeBackend
from zigai_kernels.dispatch import load, supported
from zigai_kernels.packer import Packer
from zigai_kernels.packing import pack_panels
from zigai_kernels.storage import STORAGE

INTEGER = [name for name, storage in STORAGE.items() if storage.activations == "INT8"]
FIXED = [name for name, storage in STORAGE.items() if storage.activations == "INT16"]
SMALL = [name for name in INTEGER if STORAGE[name].block_size == 32]
LARGE = [name for name in INTEGER if STORAGE[name].block_size == 256]

SHAPES = [(name, rows, width) for name in SMALL for rows, width in ((1, 32), (7, 96), (65, 896))]
SHAPES += [(name, rows, width) for name in LARGE for rows, width in ((1, 256), (33, 768))]
SHAPES += [
    (name, rows, width) for name in ("F32", *FIXED) for rows, width in ((1, 1), (5, 7), (33, 65), (64, 100))
]


def blocks_of(rows: NDArray[Any]) -> NDArray[Any]:
    """The rows in blocks of 32, padded with zeros."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % 32))).reshape(len(rows), -1, 32)


def activations_for(dtype: str, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """x as a type's kernels read it: exact, or rounded; the largest of each 32 is 127 or 8191 steps."""
    kind = STORAGE[dtype].activations
    if kind == "F32":
        return x.astype(np.float64)
    blocks = blocks_of(x)
    peak, most = np.abs(blocks).max(axis=-1, keepdims=True), np.float32({"INT8": 127, "INT16": 8191}[kind])
    steps = np.rint(blocks * np.divide(most, peak, out=np.zeros_like(peak), where=peak > 0))
    return (steps.astype(np.float64) * (peak / most)).reshape(len(x), -1)[:, : x.shape[1]]


def weights_for(tensor: TensorInfo) -> NDArray[np.float64]:
    """A matrix as its kernels read it: exact, or in fixed point with 13 bits for the largest of each 32."""
    values = tensor.to_float32().astype(np.float64)
    if STORAGE[tensor.dtype.name].activations != "INT16":
        return values
    blocks = blocks_of(values)
    _, exponent = np.frexp(np.abs(blocks).max(axis=-1, keepdims=True))
    fixed = np.ldexp(np.rint(np.ldexp(blocks, 13 - exponent)), exponent - 13)
    seen: NDArray[np.float64] = fixed.reshape(len(values), -1)[:, : values.shape[1]]
    return seen


def unit_scales(dtype: str, blocks: NDArray[np.uint8]) -> TensorInfo:
    """A tensor with one block per row and scales of 1, or of 8, so that every weight is a whole number."""
    unit = 8.0 if dtype.startswith(("IQ1", "IQ2", "IQ3")) else 1.0
    set_scales(dtype, blocks, [unit] * len(USUAL_SCALES[dtype]))
    shape = (len(blocks), DTYPES[dtype].block_size)
    return TensorInfo("w", shape, DTYPES[dtype], blocks.reshape(-1))


def linear(tools: Any, backend: Backend, x: NDArray[Any], weight: TensorInfo, options: Any = None) -> Any:
    sketch = tools.sketch()
    inputs = sketch.input("x", x)
    sketch.add(Linear(Value("y", weight.shape[0]), inputs, sketch.stored("w", weight)))
    bench = sketch.bench(backend, options or tools.options)
    return bench, bench.run(tools.batch(range(len(x))))["logits"]


@pytest.mark.parametrize("dtype", INTEGER)
@pytest.mark.parametrize("extreme", [False, True])
def test_integer_sums_are_exact_up_to_the_largest_weights(
    tools: Any, backend: Backend, dtype: str, extreme: bool
) -> None:
    random = np.random.RandomState(1)
    blocks = random.randint(0, 256, (12, DTYPES[dtype].block_bytes)).astype(np.uint8)
    if extreme:
        blocks[:6] = 0xFF
        blocks[6:9] = 0x80
        blocks[9:] = 0x00
    weight = unit_scales(dtype, blocks)
    values = weight.to_float32().astype(np.int64)
    # Only one group of 32 activations per row is nonzero, so that a whole sum is exact in float32.
    width = weight.shape[1]
    x = np.zeros((width // 32 * 3, width), np.int64)
    for group in range(width // 32):
        at = slice(32 * group, 32 * group + 32)
        x[3 * group, at] = np.where(values[-1 if extreme else 0, at] < 0, -127, 127)
        x[3 * group + 1, at] = -127
        x[3 * group + 2, at] = random.randint(-127, 128, 32)
        x[3 * group + 2, 32 * group + group % 32] = 127
    expected = x @ values.T
    assert np.abs(expected).max() < 2**24
    np.testing.assert_array_equal(linear(tools, backend, x, weight)[1], expected)


def test_sums_with_the_largest_factors_of_q6_k_are_exact(tools: Any, backend: Backend) -> None:
    blocks = np.zeros((3, DTYPES["Q6_K"].block_bytes), np.uint8)  # all quants are -32
    blocks[:, 192:208] = np.array([-128, 127, 1], np.int8).view(np.uint8)[:, None]
    weight = unit_scales("Q6_K", blocks)
    x = np.zeros((40, 256), np.int64)
    for row in range(40):
        x[row, 32 * (row % 8) : 32 * (row % 8) + 32] = 127 if row % 2 else -127
    expected = x @ weight.to_float32().astype(np.int64).T
    assert np.abs(expected).max() == 32 * 32 * 127 * 128 < 2**24  # the largest whole number that totals reach
    for rows in (1, 4, 40):
        np.testing.assert_array_equal(linear(tools, backend, x[:rows], weight)[1], expected[:rows])


@pytest.mark.skipif("avx512" not in supported(), reason="this CPU has no AVX-512 to compare with AVX2")
@pytest.mark.parametrize("dtype", list(STORAGE))
def test_avx2_and_avx512_give_the_same_bits(tools: Any, dtype: str) -> None:
    width = 768 if STORAGE[dtype].block_size > 1 else 100
    weight = random_tensor("w", (65, width), dtype, np.random.RandomState(8), 0.05)
    x = np.random.RandomState(9).standard_normal((40, width)).astype(np.float32)
    for rows in (1, 3, 40):
        of_sets = [
            linear(tools, NativeBackend(name), x[:rows], weight)[1].copy() for name in ("avx2", "avx512")
        ]
        np.testing.assert_array_equal(*of_sets)


@pytest.mark.parametrize("dtype", FIXED)
def test_fixed_point_sums_are_exact_up_to_the_largest_weights(
    tools: Any, backend: Backend, dtype: str
) -> None:
    random = np.random.RandomState(4)
    most = {"F16": 8188, "BF16": 8160}[dtype]  # the largest below 8192
    values = random.randint(-128, 128, (8, 64)) * 32  # 8 significant bits, which both types represent exactly
    values[0], values[1], values[2, ::2], values[2, 1::2] = most, -most, most, -most
    values[3:, ::32] = 4096  # so that the exponent is 0
    x = random.randint(-8191, 8192, (4, 64))
    x[0], x[1] = 8191, -8191
    x[:, [0, 32]] = 8191  # so that the scale is 1
    x[::2, 32:], x[1::2, :32] = 0, 0  # one nonzero group for each row
    sketch = tools.sketch()
    sketch.tensor("w", values, dtype)
    weight = sketch.tensors["w"]
    np.testing.assert_array_equal(weight.to_float32(), values)
    expected = x @ values.T
    assert np.abs(expected).max() > 2**30
    np.testing.assert_array_equal(linear(tools, backend, x, weight)[1], expected.astype(np.float32))


@pytest.mark.parametrize("dtype", FIXED)
def test_fixed_point_is_accurate_over_the_range_of_exponents(
    tools: Any, backend: Backend, dtype: str
) -> None:
    exponents = {"F16": (-24, 15), "BF16": (-100, 100)}[dtype]
    values = np.ldexp(1.5, np.linspace(*exponents, 20).astype(int))[:, None] * np.linspace(-1, 1, 32)
    sketch = tools.sketch()
    sketch.tensor("w", values, dtype)
    weight = sketch.tensors["w"]
    x = np.random.RandomState(5).standard_normal((2, 32)).astype(np.float32)
    expected = activations_for(dtype, x) @ weights_for(weight).T
    np.testing.assert_allclose(linear(tools, backend, x, weight)[1], expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["F32", *FIXED])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_affects_only_its_output(
    tools: Any, backend: Backend, dtype: str, wrong: float
) -> None:
    values = np.ones((20, 70), np.float32)
    values[3, 5] = values[17, 69] = wrong
    sketch = tools.sketch()
    sketch.tensor("w", values, dtype)
    y = linear(tools, backend, np.ones((5, 70)), sketch.tensors["w"])[1]
    finite = np.isfinite(y)
    assert not finite[:, [3, 17]].any()
    assert finite.sum() == 5 * 18


@pytest.mark.parametrize(("dtype", "rows", "width"), SHAPES)
def test_every_type_and_shape_agrees_with_its_definition(
    tools: Any, backend: Backend, dtype: str, rows: int, width: int
) -> None:
    sketch = tools.sketch()
    x = np.random.RandomState(2).standard_normal((33, width)).astype(np.float32)
    inputs = sketch.input("x", x)
    weight = sketch.random("w", (rows, width), dtype)
    bias = sketch.tensor("b", np.linspace(-1, 1, rows))
    sketch.add(Linear(Value("y", rows), inputs, weight, bias))
    values, seen = weights_for(sketch.tensors["w"]), activations_for(dtype, x)
    expected = seen @ values.T + np.linspace(-1, 1, rows)
    bound = 1e-5 * (np.abs(seen) @ np.abs(values).T).max()
    bench = sketch.bench(backend)
    for count in (1, 2, 3, 4, 5, 8, 22, 33):
        y = bench.run(tools.batch(range(count)))["logits"]
        np.testing.assert_allclose(y, expected[:count], rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", list(STORAGE))
def test_panels_of_full_rows_are_as_large_as_in_the_file(dtype: str) -> None:
    tensor = random_tensor("w", (32, 2048), dtype, np.random.RandomState(0), 1.0)
    module = load("baseline")
    packer = Packer(module.ffi, module.lib, 2)
    packing, done = pack_panels(tensor, "linear"), list[int]()
    packed = packer.pack({"w": (packing,)}, done.append)[packing]
    exponents = tensor.nbytes // 64 if dtype in FIXED else 0
    assert packed.nbytes == tensor.nbytes + exponents
    assert sum(done) == tensor.nbytes
    assert packed.ctypes.data % 64 == 0


def test_a_packed_tensor_is_released(tools: Any, backend: Backend) -> None:
    sketch = tools.sketch()
    x = sketch.input("x", np.ones((1, 64)))
    released: list[str] = []
    weight = sketch.random("w", (16, 64), "Q8_0")
    sketch.tensors["w"] = dataclasses.replace(sketch.tensors["w"], release=lambda: released.append("w"))
    sketch.add(Linear(Value("y", 16), x, weight))
    sketch.bench(backend)
    assert released == ["w"]


@pytest.mark.parametrize("dtype", list(STORAGE))
def test_a_row_is_bitwise_the_same_in_every_batch_and_with_every_number_of_threads(
    tools: Any, backend: Backend, dtype: str
) -> None:
    x = np.random.RandomState(3).standard_normal((141, 512)).astype(np.float32)
    sketch = tools.sketch()
    sketch.random("w", (70, 512), dtype)
    weight = sketch.tensors["w"]
    options = dataclasses.replace(tools.options, context=len(x), batch=len(x))
    bench, whole = linear(tools, backend, x, weight, options)
    alone = [(row, 1) for row in (*range(11), 140)]
    for first, count in (*alone, (2, 3), (5, 11), (16, 21), (37, 33), (70, 64)):
        rows = range(first, first + count)
        np.testing.assert_array_equal(bench.run(tools.batch(rows))["logits"], whole[rows.start : rows.stop])
    for threads in (1, 3):
        options = dataclasses.replace(options, threads=threads)
        np.testing.assert_array_equal(linear(tools, backend, x, weight, options)[1], whole)


@pytest.mark.parametrize("dtype", ["Q4_K", "Q8_0", "F16", "BF16", "F32"])
def test_activations_that_are_not_finite_give_outputs_that_are_not_finite(
    tools: Any, backend: Backend, dtype: str
) -> None:
    x = np.ones((3, 512), np.float32)
    x[1, 200], x[2, 300] = np.nan, np.inf
    sketch = tools.sketch()
    sketch.random("w", (9, 512), dtype)
    y = linear(tools, backend, x, sketch.tensors["w"])[1]
    assert np.isfinite(y[0]).all()
    assert not np.isfinite(y[1:]).any()


@pytest.mark.parametrize("dtype", ["Q4_0", "Q6_K", "F16", "BF16"])
def test_zero_and_tiny_activations_give_zero_and_tiny_outputs(
    tools: Any, backend: Backend, dtype: str
) -> None:
    x = np.zeros((3, 256), np.float32)
    x[1], x[2] = 1e-40, 1e-20
    sketch = tools.sketch()
    sketch.random("w", (4, 256), dtype)
    y = linear(tools, backend, x, sketch.tensors["w"])[1]
    np.testing.assert_array_equal(y[0], 0)
    np.testing.assert_allclose(
        y, x.astype(np.float64) @ sketch.tensors["w"].to_float32().T, atol=1e-33, rtol=1e-2
    )


@pytest.mark.parametrize("dtype", list(STORAGE))
def test_an_embedding_is_the_dequantised_row(tools: Any, backend: Backend, dtype: str) -> None:
    sketch = tools.sketch()
    weight = sketch.random("w", (9, 512), dtype)
    sketch.add(Embedding(Value("y", 512), weight))
    tokens = [8, 0, 3, 3]
    y = sketch.bench(backend).run(tools.batch(tokens))["logits"]
    np.testing.assert_array_equal(y, sketch.tensors["w"].to_float32()[tokens])


def test_every_kind_of_float16_is_converted_as_by_numpy(tools: Any, backend: Backend) -> None:
    halves = np.array([0, 1, 0x03FF, 0x0400, 0x3C00, 0x7BFF, 0x7C00, 0x8000, 0x8001, 0xFC00], np.uint16)
    sketch = tools.sketch()
    data = halves.view(np.uint8).copy()
    weight = sketch.stored("w", TensorInfo("w", (len(halves), 1), DTYPES["F16"], data))
    sketch.add(Embedding(Value("y", 1), weight))
    y = sketch.bench(backend).run(tools.batch(range(len(halves))))["logits"]
    np.testing.assert_array_equal(y[:, 0], halves.view(np.float16).astype(np.float32))
