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
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.sampling.row import BestOf
from zigai_core.ops.blocks import decoder
from zigai_core.testing.toys import toy_decoder
from zigai_kernels import NativeProgram
from zigai_kernels.best import best as native_best
from zigai_kernels.executor import NativeExecutor
from zigai_kernels.packing import PANEL_ROWS

MODEL = toy_decoder(layers=1)


@pytest.fixture
def native(backend: Backend) -> Any:
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


def peaks_of(row: Array) -> Array:
    """The largest logit of each panel of a row, as a step finds them."""
    panels = np.full(-(-len(row) // PANEL_ROWS) * PANEL_ROWS, -np.inf, np.float32)
    panels[: len(row)] = row
    peaks = panels.reshape(-1, PANEL_ROWS).max(axis=1)
    for at in np.flatnonzero(~np.isfinite(row)):
        peaks[at // PANEL_ROWS] = np.nan
    return peaks


def same(found: Best, expected: Best) -> None:
    assert found.ids.dtype == expected.ids.dtype == np.int32
    assert found.ids.tolist() == expected.ids.tolist()
    np.testing.assert_array_equal(found.logits.view(np.uint32), expected.logits.view(np.uint32))
    assert found.damaged == expected.damaged


@pytest.mark.parametrize("count", [1, 5, 63, 64, 65, 1000, 40_003])
def test_the_k_best_equal_the_numpy_definition(native: Any, count: int) -> None:
    rng = np.random.default_rng(1)
    for row in rows(count).values():
        width = int(rng.integers(1, count + 1))
        for k in sorted({1, 2, 40, 700, count, count + 3}):
            if k > 5000 and count > 5000:
                continue
            for peaks in (None, peaks_of(row)):
                find = partial(native, row, k, peaks=peaks)
                same(find(), best(row, k))
                same(find(width=width), best(row, k, width=width))
                ids = np.unique(rng.integers(0, count, min(count, 70))).astype(np.int32)
                values = rng.choice([-np.inf, -1, -0.0, 0.25, 9], len(ids)).astype(np.float32)
                same(find(Edits(ids, values)), best(row, k, Edits(ids, values)))
                for share in (1.0, 0.5, 0.001):
                    mask = bitset(rng.random(count) < share)
                    same(find(Edits(ids, values), mask), best(row, k, Edits(ids, values), mask))
                    same(find(None, mask), best(row, k, None, mask))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -np.nan])
@pytest.mark.parametrize("at", [0, 1, 63, 64, 200, 299])
def test_the_first_logit_that_is_not_finite_is_reported(native: Any, value: float, at: int) -> None:
    row = np.zeros(300, np.float32)
    row[[at, 299]] = value
    edits = Edits(np.array([at], np.int32), np.array([1], np.float32))
    for given in ((None, None), (edits, None), (edits, bitset(np.arange(300) == 5))):
        for peaks in (None, peaks_of(row)):
            assert native(row, 3, *given, peaks=peaks).damaged == best(row, 3, *given).damaged == at


@pytest.mark.parametrize("vocabulary", [1000, 1024, 5003])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_step_finds_the_largest_logit_of_each_panel(
    backend: Backend, vocabulary: int, threads: int
) -> None:
    model = toy_decoder(layers=1, vocabulary=vocabulary)
    graph = decoder(model, context=64, pairing="adjacent")
    program = backend.compile(graph, model.tensors, CompileOptions(context=64, threads=threads))
    runner = DirectRunner(program)
    sequence = runner.new_sequence()
    for count in (1, 2, 7, 40):
        logits = runner.run([Part(sequence, range(1, count + 1), want_all=True)])[0]["logits"]
        executor = runner.executor
        assert isinstance(executor, NativeExecutor)
        peaks = executor._outputs.peaks
        assert peaks is not None and logits.shape == (count, vocabulary)
        for row in range(count):
            np.testing.assert_array_equal(peaks[row], peaks_of(logits[row]))


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
