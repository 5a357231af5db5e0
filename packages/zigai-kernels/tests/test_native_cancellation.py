"""Cancelling and interrupting steps."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import Cancelled, ZigAIError


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stop_cell_ends_a_running_step_soon_and_others_not(tools: Any, threads: int) -> None:
    bench, batch = tools.busy(threads)
    stop = tools.go()
    asked: list[float] = []

    def cancel() -> None:
        time.sleep(0.15)
        asked.append(time.monotonic())
        stop[0] = 1

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Cancelled):
        bench.run(batch, stop)
    assert time.monotonic() - asked[0] < 1  # milliseconds on an idle machine; the step takes many seconds
    thread.join()
    small = tools.batch([0])
    with pytest.raises(Cancelled):
        bench.run(small, stop)
    assert bench.run(small)["logits"].shape == (1, 2048)
    stop[0] = 0
    assert bench.run(small, stop)["logits"].shape == (1, 2048)


@pytest.fixture
def interrupts_raise() -> Iterator[None]:
    """Make SIGINT raise KeyboardInterrupt, also if tests run in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts_raise")
def test_an_interrupt_ends_a_long_step_and_the_executor_stays_usable(tools: Any) -> None:
    bench, batch = tools.busy()
    interrupt = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    started = time.monotonic()
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        bench.run(batch)
    assert time.monotonic() - started < 2  # the step takes many seconds
    assert bench.run(tools.batch([0]))["logits"].shape == (1, 2048)


@pytest.mark.usefixtures("interrupts_raise")
def test_an_interrupt_ends_the_wait_for_a_turn(tools: Any) -> None:
    bench, batch = tools.busy()
    stop = tools.go()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            bench.run(batch, stop)
        except Cancelled as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.1)  # until the other thread has the turn
    other = tools.bench(tools.toy())
    # as the system does with Ctrl-C: a signal to another thread would not end the main thread's wait
    main = threading.main_thread().ident
    threading.Timer(0.2, signal.pthread_kill, [main, signal.SIGINT]).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            other.run(tools.batch([5], tables=[[0]]))
    finally:
        stop[0] = 1
        thread.join()
    assert len(errors) == 1
    assert other.run(tools.batch([5], tables=[[0]]))["logits"].shape == (1, 512)


@pytest.fixture
def handle() -> Iterator[Any]:
    """A function that sets the handler of SIGUSR1 and sends the signal after 0.2 s."""
    if not hasattr(signal, "SIGUSR1"):
        pytest.skip("this system has no SIGUSR1")
    before = signal.getsignal(signal.SIGUSR1)

    def send(handler: Any) -> None:
        signal.signal(signal.SIGUSR1, lambda *_: handler())
        threading.Timer(0.2, signal.raise_signal, [signal.SIGUSR1]).start()

    yield send
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_handler_that_uses_an_executor_in_a_step_gets_an_error(tools: Any, handle: Any) -> None:
    bench, batch = tools.busy()
    other, small = tools.bench(tools.toy()), tools.batch([5], tables=[[0]])
    stop, errors = tools.go(), []

    def use() -> None:
        for call in (
            lambda: bench.run(batch, stop),
            lambda: other.run(small),
            lambda: other.executor.copy(0, [(0, 1)]),
            other.executor.start_profile,
        ):
            try:
                call()
            except ZigAIError as error:
                errors.append(str(error))
        stop[0] = 1

    handle(use)
    with pytest.raises(Cancelled):
        bench.run(batch, stop)
    assert len(errors) == 4
    assert all("this thread is inside a step" in error for error in errors)
    assert other.run(small)["logits"].shape == (1, 512)


def test_a_step_during_cancellations_is_complete_or_cancelled(tools: Any) -> None:
    bench = tools.bench(tools.toy(threads=3))
    batch, stop = tools.batch(range(16), tables=[[0, 1]]), tools.go()
    expected = bench.run(batch)["logits"]
    over, counts = threading.Event(), {"complete": 0, "cancelled": 0}

    def cancel_and_resume() -> None:
        pauses = random.Random(0)  # short and long, for both outcomes on slow and on fast machines
        while not over.is_set():
            stop[0] = 1
            time.sleep(pauses.choice((0, 1e-4, 1e-3)))
            stop[0] = 0
            time.sleep(pauses.choice((1e-4, 1e-3, 1e-2)))

    thread = threading.Thread(target=cancel_and_resume)
    thread.start()
    deadline = time.monotonic() + 60
    try:
        while min(counts.values()) < 20 and time.monotonic() < deadline:
            try:
                np.testing.assert_array_equal(bench.run(batch, stop)["logits"], expected)
                counts["complete"] += 1
            except Cancelled:
                counts["cancelled"] += 1
    finally:
        over.set()
        thread.join()
    assert min(counts.values()) >= 20, counts
