from __future__ import annotations

import dataclasses
import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.blocks import decoder
from zigai_core.conformance.toys import toy_decoder
from zigai_core.errors import Cancelled, ContextOverflowError, ShapeError, UnsupportedError, ZigAIError
from zigai_core.graph import Value
from zigai_core.operations import Linear, Scale
from zigai_core.protocols import Context, Limits, Program
from zigai_kernels import NativeBackend, NativeProgram

LIMITS = Limits(context=64, batch=16, page=8, threads=2)


def toy(limits: Limits = LIMITS, **how: Any) -> NativeProgram:
    model = toy_decoder(**how)
    return NativeBackend().compile(decoder(model, context=64, pairing="adjacent"), model.tensors, limits)


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
        ({"wanted": [0] * 17}, ContextOverflowError, "17 wanted rows, but limits.batch is 16"),
        ({"page_tables": [[8]]}, ShapeError, "page of sequence 0 8 is outside 0..7"),
        ({"page_tables": [[-1]]}, ShapeError, "page of sequence 0 -1"),
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
def test_a_batch_that_names_what_is_not_there_is_refused(
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


def test_arrays_of_another_type_or_shape_are_refused(tools: Any) -> None:
    context = toy().new_context()
    good = tools.batch([5], tables=[[0]])
    for wrong in (np.array([5]), np.array([[5]], np.int32), [5]):
        with pytest.raises(ShapeError, match="tokens must be a one-dimensional int32 array"):
            context.run(dataclasses.replace(good, tokens=wrong))


def test_arrays_that_are_not_contiguous_are_read_right(tools: Any) -> None:
    context = toy().new_context()
    good = tools.batch([5, 9, 5], tables=[[0]])
    expected = context.run(good)["logits"]
    spread = np.array([5, 0, 9, 0, 5, 0], np.int32)[::2]
    np.testing.assert_array_equal(context.run(dataclasses.replace(good, tokens=spread))["logits"], expected)


def test_pages_outside_the_context_are_not_copied() -> None:
    context = toy().new_context()
    for pair in ((0, 8), (-1, 0)):
        with pytest.raises(ShapeError, match=f"from {pair[0]} to {pair[1]}, but there are pages 0..7"):
            context.copy_pages([pair])


def test_contexts_have_pages_for_their_sequences() -> None:
    assert toy().new_context(3).pages == 24
    with pytest.raises(UnsupportedError, match="0 sequences"):
        toy().new_context(0)


def test_memory_that_cannot_be_had_is_an_error() -> None:
    resource = pytest.importorskip("resource", reason="limiting memory takes a Unix system")
    program = toy(dataclasses.replace(LIMITS, context=2**28))
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**34, before[1]))
    try:
        with pytest.raises(UnsupportedError, match="bytes of cache"):
            program.new_context()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_cache_beyond_every_address_space_is_an_error() -> None:
    with pytest.raises(UnsupportedError, match="ask for less context"):
        toy(dataclasses.replace(LIMITS, context=2**30), head_dim=2**14)


def busy(tools: Any, threads: int = 2) -> tuple[Context, Any]:
    """A context and a batch that keep this machine busy for seconds."""
    sketch = tools.sketch()
    x = sketch.input("x", np.ones((512, 2048)))
    weight = sketch.random("w", (2048, 2048), "Q8_0")
    for i in range(200):
        x = sketch.add(Scale(Value(f"s{i}", 2048), sketch.add(Linear(Value(f"y{i}", 2048), x, weight)), 1e-3))
    limits = Limits(context=512, batch=512, page=64, threads=threads)
    return sketch.context(NativeBackend(), limits), tools.batch([0] * 512, wanted=[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_cancel_ends_a_running_step_at_once_and_lasts_until_resume(tools: Any, threads: int) -> None:
    context, batch = busy(tools, threads)
    asked: list[float] = []

    def cancel() -> None:
        time.sleep(0.15)
        asked.append(time.monotonic())
        context.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Cancelled):
        context.run(batch)
    assert time.monotonic() - asked[0] < 1  # milliseconds on an idle machine; the step takes many seconds
    thread.join()
    small = tools.batch([0])
    with pytest.raises(Cancelled):
        context.run(small)
    context.resume()
    assert context.run(small)["logits"].shape == (1, 2048)


@pytest.fixture
def heeded_interrupts() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, even where tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_interrupts")
def test_an_interrupt_ends_a_long_step_and_the_context_stays_sound(tools: Any) -> None:
    context, batch = busy(tools)
    interrupt = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    started = time.monotonic()
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        context.run(batch)
    assert time.monotonic() - started < 2  # the step takes many seconds
    assert context.run(tools.batch([0]))["logits"].shape == (1, 2048)


def test_a_context_at_work_refuses_a_second_call(tools: Any) -> None:
    context, batch = busy(tools)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            context.run(batch)
        except ZigAIError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.1)
    with pytest.raises(ZigAIError, match="running in another thread"):
        context.run(batch)
    context.cancel()
    thread.join()
    assert [type(error) for error in errors] == [Cancelled]


def test_contexts_in_several_threads_at_once_give_what_each_gives_alone(tools: Any) -> None:
    program = toy()
    tokens = [list(np.random.RandomState(i).randint(0, 512, 16)) for i in range(4)]
    expected = [program.new_context().run(tools.batch(t, tables=[[0, 1]]))["logits"] for t in tokens]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(10):  # each context is dropped while the others run
            context = program.new_context()
            for _ in range(10):
                if not np.array_equal(
                    context.run(tools.batch(tokens[i], tables=[[0, 1]]))["logits"], expected[i]
                ):
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


TASKS = Path("/proc/self/task")


@pytest.mark.skipif(not TASKS.is_dir(), reason="counting threads takes /proc")
def test_threads_go_with_their_context() -> None:
    gc.collect()
    before = len(list(TASKS.iterdir()))
    contexts = [toy().new_context() for _ in range(3)]
    assert len(list(TASKS.iterdir())) == before + 3
    del contexts
    gc.collect()
    for _ in range(200):
        if len(list(TASKS.iterdir())) <= before:
            return
        time.sleep(0.01)
    raise AssertionError("threads are left over")


def test_more_threads_than_cores_finish(tools: Any) -> None:
    batch = tools.batch(range(16), tables=[[0, 1]])
    one = toy(dataclasses.replace(LIMITS, threads=1)).new_context().run(batch)["logits"]
    many = toy(dataclasses.replace(LIMITS, threads=16)).new_context()
    for _ in range(5):
        np.testing.assert_array_equal(many.run(batch)["logits"], one)


def in_the_child(context: Context, program: Program, batch: Any, expected: Any, answers: Any) -> None:
    try:
        context.run(batch)
        answers.put("ran")
    except ZigAIError as error:
        answers.put(str(error))
    answers.put(bool(np.array_equal(program.new_context().run(batch)["logits"], expected)))
    del context
    gc.collect()
    answers.put("freed")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_old_contexts_say_so_and_new_ones_work(tools: Any) -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system does not fork")
    program = toy()
    context = program.new_context()
    batch = tools.batch(range(16), tables=[[0, 1]])
    expected = context.run(batch)["logits"]
    process_of = multiprocessing.get_context("fork")
    answers = process_of.Queue()
    child = process_of.Process(target=in_the_child, args=(context, program, batch, expected, answers))
    child.start()
    assert "make a new one with program.new_context()" in answers.get(timeout=30)
    assert answers.get(timeout=30) is True
    assert answers.get(timeout=30) == "freed"
    child.join(timeout=30)
    assert child.exitcode == 0
    np.testing.assert_array_equal(context.run(batch)["logits"], expected)


STATM = Path("/proc/self/statm")


def resident() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not STATM.exists(), reason="measuring memory takes /proc")
def test_untouched_pages_cost_no_memory() -> None:
    program = toy(Limits(context=2**20, batch=512, threads=1))
    before = resident()
    context = program.new_context(4)
    assert context.pages * program.page_bytes > 2**29
    assert resident() - before < 2**22


def test_a_profile_says_where_the_time_goes(tools: Any) -> None:
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
