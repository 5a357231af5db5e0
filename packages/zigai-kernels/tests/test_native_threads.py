"""Contexts in several threads: each step gives the same numbers as alone."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import Cancelled, ZigAIError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.plugins import Program
from zigai_core.engine.runner import Runner
from zigai_core.engine.session import Session


def test_a_running_context_refuses_a_second_call(tools: Any) -> None:
    context, batch = tools.busy()
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


def test_contexts_in_parallel_threads_compute_the_same_as_alone(tools: Any) -> None:
    program = tools.toy()
    tokens = [list(np.random.RandomState(i).randint(0, 512, 16)) for i in range(4)]
    expected = [program.new_context().run(tools.batch(t, tables=[[0, 1]]))["logits"] for t in tokens]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(10):  # each context is freed while the others run
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
    """The logits of 24 steps of greedy decoding."""
    session = Session(Runner(program))
    session.extend(range(16))
    logits = []
    for _ in range(24):
        logits.append(session.logits())
        session.extend([int(logits[-1].argmax())])
    return np.stack(logits)


def test_two_models_that_generate_in_parallel_compute_the_same_as_alone(tools: Any) -> None:
    programs = [
        tools.toy(dtype="Q8_0", heads=8, seed=1),
        tools.toy(dtype="F16", layers=3, vocabulary=300, seed=2),
    ]
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


def test_contexts_can_be_created_and_freed_while_another_runs(tools: Any) -> None:
    program, batch = tools.toy(), tools.batch(range(16), tables=[[0, 1]])
    context = program.new_context()
    expected = context.run(batch)["logits"]
    with tools.running(context, batch, expected):
        for i in range(30):
            other = program.new_context(1 + i % 3)
            if i % 2:  # the others are freed without a run
                np.testing.assert_array_equal(other.run(batch)["logits"], expected)


def test_programs_can_be_freed_while_another_runs(tools: Any) -> None:
    batch = tools.batch(range(16), tables=[[0, 1]])
    context = tools.toy().new_context()
    expected = context.run(batch)["logits"]
    with tools.running(context, batch, expected):
        for seed in range(10):
            program = tools.toy(dtype="Q8_0", seed=seed)
            other = program.new_context()
            other.run(batch)
            gone = weakref.ref(program.plan)
            del program
            gc.collect()
            assert gone() is not None  # the context refers to the plan and its weights
            other.run(batch)
            del other
            gc.collect()
            assert gone() is None


TASKS = Path("/proc/self/task")


def becomes_true(condition: Callable[[], bool]) -> bool:
    """True if the condition holds within 5 s: the system may list a thread for a moment after its end."""
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.skipif(not TASKS.is_dir(), reason="counting threads takes /proc")
def test_threads_end_with_their_context(tools: Any) -> None:
    def count() -> int:
        return len(list(TASKS.iterdir()))

    program, batch = tools.toy(threads=4), tools.batch([5], tables=[[0]])
    program.new_context()
    gc.collect()
    time.sleep(0.2)  # until the system no longer lists threads of earlier tests
    before = count()
    for _ in range(5):
        contexts = [program.new_context() for _ in range(3)]  # one never runs, one runs, one is cancelled
        assert count() == before + 3 * 3
        contexts[1].run(batch)
        contexts[2].cancel()
        with pytest.raises(Cancelled):
            contexts[2].run(batch)
        del contexts
        gc.collect()
        assert becomes_true(lambda: count() <= before), "threads remain"


def test_more_threads_than_cores_compute_the_same(tools: Any) -> None:
    batch = tools.batch(range(16), tables=[[0, 1]])
    one = tools.toy(threads=1).new_context().run(batch)["logits"]
    many = tools.toy(threads=16).new_context()
    for _ in range(5):
        np.testing.assert_array_equal(many.run(batch)["logits"], one)
