from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.batch import Pages
from zigai_core.contracts.best import Edits, best
from zigai_core.contracts.errors import ContextOverflowError, ShapeError, UnsupportedError, ZigAIError
from zigai_core.contracts.options import CompileOptions
from zigai_core.ops.blocks import decoder
from zigai_core.testing.toys import toy_decoder
from zigai_kernels import NativeBackend, NativeProgram
from zigai_kernels.checks import check_batch

LIMITS = CompileOptions(context=64, batch=16, page=8, threads=2)


def toy(options: CompileOptions = LIMITS, **how: Any) -> NativeProgram:
    model = toy_decoder(**how)
    return NativeBackend().compile(decoder(model, context=64, pairing="adjacent"), model.tensors, options)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"tokens": [512]}, ShapeError, "token id 512 is outside 0..511"),
        ({"tokens": [-1]}, ShapeError, "token id -1"),
        ({"index": [-1]}, ShapeError, "index -1 is negative"),
        ({"index": [64]}, ContextOverflowError, "index 64 in a context of 64"),
        ({"index": [8]}, ShapeError, "1 pages of 8 for index 8"),
        ({"sequences": [1]}, ShapeError, "sequence 1 is outside 0..0"),
        ({"output_rows": [1]}, ShapeError, "output row 1"),
        ({"output_rows": [0] * 17}, ContextOverflowError, "17 output rows, but options.batch is 16"),
        ({"tables": [[64]]}, ShapeError, "sequence 0: page 64 is outside 0..63"),
        ({"tables": [[-1]]}, ShapeError, "sequence 0: page -1"),
        ({"tables": []}, ShapeError, "sequence 0"),
        ({"tables": None}, ShapeError, "0 groups, but the graph has 1"),
        ({"tables": [[[0]]]}, ShapeError, "page tables must be one-dimensional"),
        ({"sequences": [-1]}, ShapeError, "sequence -1 is negative"),
        ({"ends": [0]}, ShapeError, r"row 0 \(index 0\) sees nothing: its end is 0"),
        ({"ends": [9]}, ShapeError, "1 pages of 8 for index 8"),
        ({"ends": [65]}, ContextOverflowError, "an end of 65 in a context of 64"),
        ({"ends": [1, 1]}, ShapeError, "2 ends for 1 rows"),
        ({"positions": [0]}, ShapeError, "positions must be a two-dimensional"),
        ({"positions": [[0, 1]]}, ShapeError, r"shape \(1, 2\), not 1 sections of 1 rows"),
        ({"tokens": [1, 2]}, ShapeError, "2 tokens, 1 indices"),
        ({"tokens": [], "index": [], "sequences": [], "output_rows": []}, ShapeError, "at least one"),
        (
            {"tokens": [1] * 17, "index": range(17), "sequences": [0] * 17},
            ContextOverflowError,
            "batch is 16",
        ),
        ({"tokens": [1, 2], "index": [0, 2], "sequences": [0, 0]}, ShapeError, r"row 1 \(index 2\)"),
        ({"tokens": [1, 2], "index": [1, 0], "sequences": [0, 0]}, ShapeError, "does not follow"),
    ],
)
def test_a_batch_with_indices_out_of_range_is_refused(
    tools: Any, change: Any, error: Any, words: str
) -> None:
    bench = tools.bench(toy())
    good = tools.batch([5], tables=[[0]])
    arrays: dict[str, Any] = {
        name: np.array(value, np.int32) for name, value in change.items() if name != "tables"
    }
    if "tables" in change:
        tables = change["tables"]
        arrays["groups"] = () if tables is None else (Pages([np.array(t, np.int32) for t in tables]),)
    with pytest.raises(error, match=words):
        bench.run(dataclasses.replace(good, **arrays))
    assert bench.run(good)["logits"].shape == (1, 512)


def test_batch_arrays_of_another_type_or_shape_are_refused(tools: Any) -> None:
    bench = tools.bench(toy())
    good = tools.batch([5], tables=[[0]])
    for wrong in (np.array([5]), np.array([[5]], np.int32), [5]):
        with pytest.raises(ShapeError, match="tokens must be a one-dimensional int32 array"):
            bench.run(dataclasses.replace(good, tokens=wrong))


def test_batch_arrays_may_be_strided(tools: Any) -> None:
    bench = tools.bench(toy())
    good = tools.batch([5, 9, 5], tables=[[0]])
    expected = bench.run(good)["logits"]
    spread = np.array([5, 0, 9, 0, 5, 0], np.int32)[::2]
    np.testing.assert_array_equal(bench.run(dataclasses.replace(good, tokens=spread))["logits"], expected)


def test_the_checked_batch_shares_no_memory_with_the_original(tools: Any) -> None:
    """A step runs without the GIL, so other threads could write to the batch's arrays during it."""
    plan = toy().plan
    batch = tools.batch([5, 9, 5], tables=[[0]], ends=[3, 3, 3], positions=[[0, 1, 2]])
    checked = check_batch(batch, plan, (8,))
    ours = [array for array in vars(checked).values() if isinstance(array, np.ndarray)]
    ours += [array for tables in checked.tables for array in tables]
    for theirs in (
        batch.tokens,
        batch.index,
        batch.sequences,
        batch.output_rows,
        batch.ends,
        batch.positions,
    ):
        assert not any(np.shares_memory(theirs, array) for array in ours)
    assert not any(np.shares_memory(batch.groups[0].tables[0], array) for array in ours)


@pytest.mark.parametrize(
    "stop", [0, [0], np.zeros(2, np.int32), np.zeros(1), np.zeros(5, np.uint8)[1:].view(np.int32)]
)
def test_a_stop_cell_of_another_type_or_shape_is_refused(tools: Any, stop: Any) -> None:
    bench = tools.bench(toy())
    with pytest.raises(ShapeError, match="stop"):
        bench.run(tools.batch([5], tables=[[0]]), stop)


def test_pages_outside_the_executor_are_not_copied(tools: Any) -> None:
    executor = toy().new_executor([8])
    for pair in ((0, 8), (-1, 0)):
        with pytest.raises(ShapeError, match=f"from {pair[0]} to {pair[1]}, but those of group 0 are 0..7"):
            executor.copy(0, [pair])
    with pytest.raises(ShapeError, match="group 1, but the graph has 1"):
        executor.copy(1, [(0, 0)])
    executor.copy(0, [])


def test_executors_have_the_pages_that_are_asked_for() -> None:
    program = toy()
    assert program.batch_invariant
    assert len(program.state_bytes) == 1
    assert program.new_executor([24]).sizes == (24,)
    for wrong in ([0], [2**31], [], [8, 8]):
        with pytest.raises(UnsupportedError, match="an executor with"):
            program.new_executor(wrong)


def test_pages_whose_bytes_overflow_64_bits_are_refused() -> None:
    options = CompileOptions(context=2**20, batch=16, page=2**20, threads=1)
    program = toy(options, heads=32, kv_heads=32, head_dim=128)
    assert program.state_bytes[0] * 2**30 > 2**63  # would wrap around in 64 bits
    with pytest.raises(UnsupportedError, match="use fewer pages"):
        program.new_executor([2**30])


def test_memory_that_the_system_refuses_is_an_error() -> None:
    resource = pytest.importorskip("resource", reason="limiting memory takes a Unix system")
    program = toy(dataclasses.replace(LIMITS, context=2**28))
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**34, before[1]))
    try:
        with pytest.raises(UnsupportedError, match="a cache of"):
            program.new_executor([2**25])
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_outputs_are_views_that_later_steps_reuse(tools: Any) -> None:
    executor, stop = toy().new_executor([8]), np.zeros(1, np.int32)
    few, many = tools.batch([5], tables=[[0]]), tools.batch([5, 9, 5], tables=[[0]])
    first = executor.run(many, stop)
    rows = first.rows("logits")
    assert first.rows("logits") is rows
    second = executor.run(few, stop)
    assert np.shares_memory(second.rows("logits"), rows)
    with pytest.raises(ZigAIError, match="no longer valid"):
        first.rows("logits")
    with pytest.raises(ZigAIError, match="no longer valid"):
        first.best(0, 1)
    with pytest.raises(UnsupportedError, match="no output named scores"):
        second.rows("scores")
    assert executor.run(tools.batch([5], tables=[[0]], wanted=[]), stop).rows("logits").shape == (0, 512)


def test_outputs_choose_the_best_of_a_row(tools: Any) -> None:
    outputs = toy().new_executor([8]).run(tools.batch([5, 9, 5], tables=[[0]]), np.zeros(1, np.int32))
    edits = Edits(np.array([7], np.int32), np.array([np.inf], np.float32))
    for row in range(3):
        expected = best(outputs.rows("logits")[row], 5, edits)
        for mine, right in zip(outputs.best(row, 5, edits), expected, strict=True):
            np.testing.assert_array_equal(mine, right)
    for row in (3, -1):
        with pytest.raises(ShapeError, match=f"row {row} is outside the step's 3 output rows"):
            outputs.best(row, 1)


STATM = Path("/proc/self/statm")


def resident() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not STATM.exists(), reason="measuring memory takes /proc")
def test_untouched_pages_take_no_memory() -> None:
    program = toy(CompileOptions(context=2**20, batch=512, threads=1))
    before = resident()
    executor = program.new_executor([2**18])
    assert executor.sizes[0] * program.state_bytes[0] > 2**29
    assert resident() - before < 2**22


def test_a_profile_adds_up_the_time_of_each_operation(tools: Any) -> None:
    bench, step = tools.bench(toy()), tools.batch([5], tables=[[0]])
    executor = bench.executor
    assert list(executor.profile()) == []
    executor.start_profile()
    for _ in range(3):
        bench.run(step)
    times = executor.profile()
    assert {row.operation for row in times} >= {"linear", "attention", "rms_norm", "store"}
    assert all(row.seconds > 0 for row in times)
    before = sum(row.seconds for row in times)
    bench.run(step)
    assert sum(row.seconds for row in executor.profile()) > before
    executor.start_profile()
    assert sum(row.seconds for row in executor.profile()) == 0


def test_a_profile_names_the_types_of_weights_and_cache(tools: Any) -> None:
    bench = tools.bench(toy(dtype="Q8_0"))
    bench.executor.start_profile()
    bench.run(tools.batch([5], tables=[[0]]))
    stored = {row.operation: row.dtype for row in bench.executor.profile()}
    assert stored["linear"] == "Q8_0"
    assert stored["attention"] == LIMITS.kv_dtype
    assert stored["quantize"] == stored["gated"] == ""
