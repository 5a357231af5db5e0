from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import ContextOverflowError, ShapeError, UnsupportedError
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
        ({"positions": [-1]}, ShapeError, "position -1 is negative"),
        ({"positions": [64]}, ContextOverflowError, "position 64 in a context of 64"),
        ({"positions": [8]}, ShapeError, "1 pages of 8 for position 8"),
        ({"sequences": [1]}, ShapeError, "sequence 1 is outside 0..0"),
        ({"wanted": [1]}, ShapeError, "wanted row 1"),
        ({"wanted": [0] * 17}, ContextOverflowError, "17 wanted rows, but options.batch is 16"),
        ({"page_tables": [[8]]}, ShapeError, "sequence 0: page 8 is outside 0..7"),
        ({"page_tables": [[-1]]}, ShapeError, "sequence 0: page -1"),
        ({"page_tables": []}, ShapeError, "sequence 0"),
        ({"tokens": [1, 2]}, ShapeError, "2 tokens, 1 positions"),
        ({"tokens": [], "positions": [], "sequences": [], "wanted": []}, ShapeError, "at least one"),
        (
            {"tokens": [1] * 17, "positions": range(17), "sequences": [0] * 17},
            ContextOverflowError,
            "batch is 16",
        ),
        ({"tokens": [1, 2], "positions": [0, 2], "sequences": [0, 0]}, ShapeError, r"row 1 \(position 2\)"),
        ({"tokens": [1, 2], "positions": [1, 0], "sequences": [0, 0]}, ShapeError, "does not follow"),
    ],
)
def test_a_batch_with_indices_out_of_range_is_refused(
    tools: Any, change: Any, error: Any, words: str
) -> None:
    context = toy().new_context()
    good = tools.batch([5], tables=[[0]])
    arrays = {
        name: [np.array(t, np.int32) for t in value] if name == "page_tables" else np.array(value, np.int32)
        for name, value in change.items()
    }
    with pytest.raises(error, match=words):
        context.run(dataclasses.replace(good, **arrays))
    assert context.run(good)["logits"].shape == (1, 512)


def test_batch_arrays_of_another_type_or_shape_are_refused(tools: Any) -> None:
    context = toy().new_context()
    good = tools.batch([5], tables=[[0]])
    for wrong in (np.array([5]), np.array([[5]], np.int32), [5]):
        with pytest.raises(ShapeError, match="tokens must be a one-dimensional int32 array"):
            context.run(dataclasses.replace(good, tokens=wrong))


def test_batch_arrays_may_be_strided(tools: Any) -> None:
    context = toy().new_context()
    good = tools.batch([5, 9, 5], tables=[[0]])
    expected = context.run(good)["logits"]
    spread = np.array([5, 0, 9, 0, 5, 0], np.int32)[::2]
    np.testing.assert_array_equal(context.run(dataclasses.replace(good, tokens=spread))["logits"], expected)


def test_the_checked_batch_shares_no_memory_with_the_original(tools: Any) -> None:
    """A step runs without the GIL, so other threads could write to the batch's arrays during it."""
    batch = tools.batch([5, 9, 5], tables=[[0]])
    checked = check_batch(batch, LIMITS, pages=8, vocabulary=512)
    for theirs in (batch.tokens, batch.positions, batch.sequences, batch.wanted, *batch.page_tables):
        assert not any(np.shares_memory(theirs, ours) for ours in checked)


def test_pages_outside_the_context_are_not_copied() -> None:
    context = toy().new_context()
    for pair in ((0, 8), (-1, 0)):
        with pytest.raises(ShapeError, match=f"from {pair[0]} to {pair[1]}, but the pages are 0..7"):
            context.copy_pages([pair])


def test_contexts_have_pages_for_their_sequences() -> None:
    assert toy().new_context(3).pages == 24
    with pytest.raises(UnsupportedError, match="0 sequences"):
        toy().new_context(0)


def test_a_cache_whose_bytes_overflow_64_bits_is_refused() -> None:
    options = CompileOptions(context=2**20, batch=16, page=2**20, threads=1)
    program = toy(options, heads=32, kv_heads=32, head_dim=128)
    assert program.page_bytes * 2**30 > 2**63  # would wrap around in 64 bits
    with pytest.raises(UnsupportedError, match="fewer sequences"):
        program.new_context(2**30)


def test_memory_that_the_system_refuses_is_an_error() -> None:
    resource = pytest.importorskip("resource", reason="limiting memory takes a Unix system")
    program = toy(dataclasses.replace(LIMITS, context=2**28))
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**34, before[1]))
    try:
        with pytest.raises(UnsupportedError, match="bytes of cache"):
            program.new_context()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_cache_larger_than_the_address_space_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match="use a smaller context"):
        toy(dataclasses.replace(LIMITS, context=2**30), head_dim=2**14)


STATM = Path("/proc/self/statm")


def resident() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not STATM.exists(), reason="measuring memory takes /proc")
def test_untouched_pages_take_no_memory() -> None:
    program = toy(CompileOptions(context=2**20, batch=512, threads=1))
    before = resident()
    context = program.new_context(4)
    assert context.pages * program.page_bytes > 2**29
    assert resident() - before < 2**22


def test_a_profile_adds_up_the_time_of_each_operation(tools: Any) -> None:
    context, step = toy().new_context(), tools.batch([5], tables=[[0]])
    assert list(context.profile()) == []
    context.start_profile()
    for _ in range(3):
        context.run(step)
    times = context.profile()
    assert {row.operation for row in times} >= {"linear", "attention", "rms_norm", "store"}
    assert all(row.seconds > 0 for row in times)
    before = sum(row.seconds for row in times)
    context.run(step)
    assert sum(row.seconds for row in context.profile()) > before
    context.start_profile()
    assert sum(row.seconds for row in context.profile()) == 0


def test_a_profile_names_the_types_of_weights_and_cache(tools: Any) -> None:
    context = toy(dtype="Q8_0").new_context()
    context.start_profile()
    context.run(tools.batch([5], tables=[[0]]))
    stored = {row.operation: row.dtype for row in context.profile()}
    assert stored["linear"] == "Q8_0"
    assert stored["attention"] == LIMITS.kv_dtype
    assert stored["quantize"] == stored["gated"] == ""
