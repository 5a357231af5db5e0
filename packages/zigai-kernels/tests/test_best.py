"""The k best of a row in C equal the numpy definition bitwise, on each instruction set."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.best import Best, Edits, best, bitset
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.contracts.plugins import Backend
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.sampling.row import BestOf
from zigai_core.ops.blocks import decoder
from zigai_core.testing.toys import toy_decoder
from zigai_kernels import NativeProgram
from zigai_kernels.best import best as native_best

MODEL = toy_decoder(layers=1)


@pytest.fixture
def native(backend: Backend) -> BestOf:
    """The function in C, for any row."""
    graph = decoder(MODEL, context=64, pairing="adjacent")
    program = backend.compile(graph, MODEL.tensors, CompileOptions(context=64, threads=1))
    assert isinstance(program, NativeProgram)
    return partial(native_best, program.ffi, program.lib)


def rows(count: int) -> dict[str, Array]:
    rng = np.random.default_rng(count)
    kinds = {
        "normal": rng.normal(0, 3, count),
        "equal": np.full(count, -2.5),
        "few values": rng.choice([-1, 0, 0.5], count),
        "zeros of both signs": rng.choice([0.0, -0.0], count),
        "ascending": np.arange(count),
        "descending": -np.arange(count),
        "extreme": rng.choice([-3.4e38, -1e-45, 0, 1e-45, 3.4e38], count),
        "bytes": rng.integers(0, 2**32 - 2**25, count, dtype=np.uint32).view(np.float32),
    }
    found = {name: row.astype(np.float32) for name, row in kinds.items()}
    found["bytes"][~np.isfinite(found["bytes"])] = 0
    return found


def same(found: Best, expected: Best) -> None:
    assert found.ids.dtype == expected.ids.dtype == np.int32
    assert found.ids.tolist() == expected.ids.tolist()
    np.testing.assert_array_equal(found.logits.view(np.uint32), expected.logits.view(np.uint32))
    assert found.damaged == expected.damaged


@pytest.mark.parametrize("count", [1, 5, 63, 64, 65, 1000, 40_003])
def test_the_k_best_equal_the_numpy_definition(native: BestOf, count: int) -> None:
    rng = np.random.default_rng(1)
    for row in rows(count).values():
        for k in sorted({1, 2, 40, 700, count, count + 3}):
            if k > 5000 and count > 5000:
                continue
            same(native(row, k), best(row, k))
            ids = np.unique(rng.integers(0, count, min(count, 70))).astype(np.int32)
            values = rng.choice([-np.inf, -1, -0.0, 0.25, 9], len(ids)).astype(np.float32)
            for share in (1.0, 0.5, 0.001):
                mask = bitset(rng.random(count) < share)
                same(native(row, k, Edits(ids, values), mask), best(row, k, Edits(ids, values), mask))
                same(native(row, k, None, mask), best(row, k, None, mask))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -np.nan])
@pytest.mark.parametrize("at", [0, 1, 63, 64, 200, 299])
def test_the_first_logit_that_is_not_finite_is_reported(native: BestOf, value: float, at: int) -> None:
    row = np.zeros(300, np.float32)
    row[[at, 299]] = value
    edits = Edits(np.array([at], np.int32), np.array([1], np.float32))
    for given in ((None, None), (edits, None), (edits, bitset(np.arange(300) == 5))):
        assert native(row, 3, *given).damaged == best(row, 3, *given).damaged == at


def test_rows_edits_and_masks_may_be_strided_views(native: BestOf) -> None:
    row = np.arange(400, dtype=np.float32)[::2]
    same(native(row, 3), best(row, 3))
    ids, logits = np.arange(8, dtype=np.int32)[::4], np.full(4, 500, np.float32)[::2]
    words = np.repeat(bitset(np.arange(200) % 3 == 0), 2)[::2]
    same(native(row, 9, Edits(ids, logits), words), best(row, 9, Edits(ids, logits), words))


@pytest.mark.parametrize(
    "change",
    [
        {"row": np.zeros((2, 2), np.float32)},
        {"row": np.zeros(4, np.float64)},
        {"k": 0},
        {"edits": Edits(np.array([4], np.int32), np.zeros(1, np.float32))},
        {"edits": Edits(np.array([2, 1], np.int32), np.zeros(2, np.float32))},
        {"mask": np.zeros(0, np.uint32)},
    ],
)
def test_arguments_of_wrong_shape_type_or_range_are_refused(native: BestOf, change: dict[str, Any]) -> None:
    with pytest.raises(ShapeError):
        native(**{"row": np.zeros(4, np.float32), "k": 2, **change})


CHAINS = [
    SamplingOptions(seed=3),
    SamplingOptions(seed=3, top_k=0),
    SamplingOptions.greedy(),
    SamplingOptions(seed=3, repeat_penalty=1.3, logit_bias={5: 2.0, 7: -np.inf}, mirostat=1),
]


@pytest.mark.parametrize("options", CHAINS)
def test_a_sampler_draws_the_same_tokens_with_the_native_best(
    native: BestOf, options: SamplingOptions
) -> None:
    plain, native = Sampler(options), Sampler(options, best=native)
    for row in np.random.default_rng(0).normal(0, 3, (20, 9000)).astype(np.float32):
        token = plain.sample(row)
        assert native.sample(row) == token
        plain.accept(token)
        native.accept(token)
