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

from zigai_core.contracts.errors import Cancelled


@pytest.mark.parametrize("threads", [1, 2])
def test_cancel_ends_a_running_step_soon_and_lasts_until_resume(tools: Any, threads: int) -> None:
    context, batch = tools.busy(threads)
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
def interrupts_raise() -> Iterator[None]:
    """Make SIGINT raise KeyboardInterrupt, also if tests run in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts_raise")
def test_an_interrupt_ends_a_long_step_and_the_context_stays_usable(tools: Any) -> None:
    context, batch = tools.busy()
    interrupt = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    started = time.monotonic()
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        context.run(batch)
    assert time.monotonic() - started < 2  # the step takes many seconds
    assert context.run(tools.batch([0]))["logits"].shape == (1, 2048)


def test_a_step_during_cancellations_is_complete_or_cancelled(tools: Any) -> None:
    context = tools.toy(threads=3).new_context()
    batch = tools.batch(range(16), tables=[[0, 1]])
    expected = context.run(batch)["logits"]
    over, counts = threading.Event(), {"complete": 0, "cancelled": 0}

    def cancel_and_resume() -> None:
        pauses = random.Random(0)  # short and long, for both outcomes on slow and on fast machines
        while not over.is_set():
            context.cancel()
            time.sleep(pauses.choice((0, 1e-4, 1e-3)))
            context.resume()
            time.sleep(pauses.choice((1e-4, 1e-3, 1e-2)))

    thread = threading.Thread(target=cancel_and_resume)
    thread.start()
    deadline = time.monotonic() + 60
    try:
        while min(counts.values()) < 20 and time.monotonic() < deadline:
            try:
                np.testing.assert_array_equal(context.run(batch)["logits"], expected)
                counts["complete"] += 1
            except Cancelled:
                counts["cancelled"] += 1
    finally:
        over.set()
        thread.join()
    assert min(counts.values()) >= 20, counts
