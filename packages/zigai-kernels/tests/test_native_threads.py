"""Threads and processes: whatever goes on beside it, a step gives what it gives alone, or says why not."""

from __future__ import annotations

import dataclasses
import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import Cancelled, ZigAIError
from zigai_core.contracts.graph import Array, Value
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Context, Program
from zigai_core.engine.runner import Runner
from zigai_core.engine.session import Session
from zigai_core.ops.blocks import decoder
from zigai_core.ops.operations import Linear, Scale
from zigai_core.testing.toys import toy_decoder
from zigai_kernels import NativeBackend, NativeProgram

LIMITS = CompileOptions(context=64, batch=16, page=8, threads=2)


def toy(options: CompileOptions = LIMITS, **how: Any) -> NativeProgram:
    model = toy_decoder(**how)
    return NativeBackend().compile(decoder(model, context=64, pairing="adjacent"), model.tensors, options)


@contextmanager
def at_work(context: Context, batch: Any, expected: Array) -> Iterator[None]:
    """Meanwhile another thread runs this step over and over; each time it must give what is expected."""
    over, begun = threading.Event(), threading.Event()
    right: list[bool] = []

    def work() -> None:
        while not over.is_set():
            right.append(np.array_equal(context.run(batch)["logits"], expected))
            begun.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert begun.wait(30)
        yield
    finally:
        over.set()
        thread.join()
    assert all(right)


def busy(tools: Any, threads: int = 2) -> tuple[Context, Any]:
    """A context and a batch that keep this machine busy for seconds."""
    sketch = tools.sketch()
    x = sketch.input("x", np.ones((512, 2048)))
    weight = sketch.random("w", (2048, 2048), "Q8_0")
    for i in range(200):
        x = sketch.add(Scale(Value(f"s{i}", 2048), sketch.add(Linear(Value(f"y{i}", 2048), x, weight)), 1e-3))
    options = CompileOptions(context=512, batch=512, page=64, threads=threads)
    return sketch.context(NativeBackend(), options), tools.batch([0] * 512, wanted=[0])


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


def generate(program: Program) -> Array:
    """The logits of 24 steps, each with the best token of the one before."""
    session = Session(Runner(program))
    session.extend(range(16))
    logits = []
    for _ in range(24):
        logits.append(session.logits())
        session.extend([int(logits[-1].argmax())])
    return np.stack(logits)


def test_two_models_that_generate_at_once_give_what_each_gives_alone() -> None:
    programs = [toy(dtype="Q8_0", heads=8, seed=1), toy(dtype="F16", layers=3, vocabulary=300, seed=2)]
    alone = [generate(program) for program in programs]
    together: dict[int, list[Array]] = {0: [], 1: []}
    start = threading.Barrier(2)

    def work(i: int) -> None:
        start.wait()
        for _ in range(3):
            together[i].append(generate(programs[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, results in together.items():
        assert [np.array_equal(logits, alone[i]) for logits in results] == [True] * 3


def test_contexts_are_made_and_dropped_while_a_step_runs_elsewhere(tools: Any) -> None:
    program, batch = toy(), tools.batch(range(16), tables=[[0, 1]])
    context = program.new_context()
    expected = context.run(batch)["logits"]
    with at_work(context, batch, expected):
        for i in range(30):
            other = program.new_context(1 + i % 3)
            if i % 2:  # the others go without having run
                np.testing.assert_array_equal(other.run(batch)["logits"], expected)


def test_a_program_is_dropped_while_another_runs(tools: Any) -> None:
    batch = tools.batch(range(16), tables=[[0, 1]])
    context = toy().new_context()
    expected = context.run(batch)["logits"]
    with at_work(context, batch, expected):
        for seed in range(10):
            program = toy(dtype="Q8_0", seed=seed)
            other = program.new_context()
            other.run(batch)
            gone = weakref.ref(program.plan)
            del program
            gc.collect()
            assert gone() is not None  # the context needs the plan and its weights
            other.run(batch)
            del other
            gc.collect()
            assert gone() is None


def test_a_step_amid_cancellations_is_whole_or_cancelled(tools: Any) -> None:
    context = toy(dataclasses.replace(LIMITS, threads=3)).new_context()
    batch = tools.batch(range(16), tables=[[0, 1]])
    expected = context.run(batch)["logits"]
    over, counts = threading.Event(), {"whole": 0, "cancelled": 0}

    def disturb() -> None:
        pauses = random.Random(0)  # short and long ones, so that both happen however slowly steps run
        while not over.is_set():
            context.cancel()
            time.sleep(pauses.choice((0, 1e-4, 1e-3)))
            context.resume()
            time.sleep(pauses.choice((1e-4, 1e-3, 1e-2)))

    thread = threading.Thread(target=disturb)
    thread.start()
    deadline = time.monotonic() + 60
    try:
        while min(counts.values()) < 20 and time.monotonic() < deadline:
            try:
                np.testing.assert_array_equal(context.run(batch)["logits"], expected)
                counts["whole"] += 1
            except Cancelled:
                counts["cancelled"] += 1
    finally:
        over.set()
        thread.join()
    assert min(counts.values()) >= 20, counts


TASKS = Path("/proc/self/task")


def becomes_true(condition: Callable[[], bool]) -> bool:
    """Whether it does within seconds: the system may list a thread for a moment after it has ended."""
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.skipif(not TASKS.is_dir(), reason="counting threads takes /proc")
def test_threads_go_with_their_context(tools: Any) -> None:
    def count() -> int:
        return len(list(TASKS.iterdir()))

    program, batch = toy(dataclasses.replace(LIMITS, threads=4)), tools.batch([5], tables=[[0]])
    program.new_context()
    gc.collect()
    time.sleep(0.2)  # for threads of earlier tests that the system still lists
    before = count()
    for _ in range(5):
        contexts = [program.new_context() for _ in range(3)]  # one that never runs, one that does, ...
        assert count() == before + 3 * 3
        contexts[1].run(batch)
        contexts[2].cancel()
        with pytest.raises(Cancelled):
            contexts[2].run(batch)
        del contexts
        gc.collect()
        assert becomes_true(lambda: count() <= before), "threads are left over"


def test_more_threads_than_cores_finish(tools: Any) -> None:
    batch = tools.batch(range(16), tables=[[0, 1]])
    one = toy(dataclasses.replace(LIMITS, threads=1)).new_context().run(batch)["logits"]
    many = toy(dataclasses.replace(LIMITS, threads=16)).new_context()
    for _ in range(5):
        np.testing.assert_array_equal(many.run(batch)["logits"], one)


def in_the_child(
    idle: list[Context], running: Context, program: Program, batch: Any, expected: Any, answers: Any
) -> None:
    for context in (idle[0], running):
        try:
            context.run(batch)
            answers.put("ran")
        except ZigAIError as error:
            answers.put(str(error))
    answers.put(bool(np.array_equal(program.new_context().run(batch)["logits"], expected)))
    old = weakref.ref(idle[0])
    del context
    idle.clear()
    gc.collect()
    answers.put(old() is None)


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_old_contexts_say_so_and_new_ones_work(tools: Any) -> None:
    program = toy()
    batch = tools.batch(range(16), tables=[[0, 1]])
    idle, running = [program.new_context()], program.new_context()
    expected = running.run(batch)["logits"]
    process_of = multiprocessing.get_context("fork")
    answers = process_of.Queue()
    with at_work(running, batch, expected):
        arguments = (idle, running, program, batch, expected, answers)
        child = process_of.Process(target=in_the_child, args=arguments)
        child.start()
        for _ in range(2):
            assert "make a new one with program.new_context()" in answers.get(timeout=30)
        assert answers.get(timeout=30) is True  # the new context's result
        assert answers.get(timeout=30) is True  # the old context is gone
        child.join(timeout=30)
        assert child.exitcode == 0
    np.testing.assert_array_equal(idle[0].run(batch)["logits"], expected)


ENDING = """
import os, sys, threading
import numpy as np
from zigai_core.contracts.batch import Batch
from zigai_core.ops.blocks import decoder
from zigai_core.testing.toys import toy_decoder
from zigai_core.contracts.options import CompileOptions
from zigai_kernels import NativeBackend

model = toy_decoder()
graph = decoder(model, context=64, pairing="half")
program = NativeBackend().compile(graph, model.tensors, CompileOptions(threads=2))
row = np.zeros(1, np.int32)
batch = Batch(tokens=row, positions=row, sequences=row, wanted=row, page_tables=[row])
context, running = program.new_context(), program.new_context()
context.run(batch)

begun = threading.Event()

def work():
    while True:
        running.run(batch)
        begun.set()

threading.Thread(target=work, daemon=True).start()
begun.wait()
child = os.fork()
if not child:
    program.new_context().run(batch)
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
context.run(batch)
"""


@forks
def test_a_process_and_its_fork_end_cleanly_with_contexts_at_work() -> None:
    python = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", ENDING]
    done = subprocess.run(python, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")
