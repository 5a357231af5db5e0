"""Who drives an engine, who waits, and who may interrupt whom."""

from __future__ import annotations

import gc
import signal
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.batch import Batch
from zigai_core.contracts.errors import ZigAIError
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Request
from zigai_core.engine.sampling import Sampler
from zigai_core.testing.engine.checking_executor import CheckingProgram, checking_graph
from zigai_core.testing.engine.expected_replies import reply_alone

GREEDY = SamplingOptions.greedy()


@pytest.fixture
def program() -> CheckingProgram:
    return CheckingProgram(checking_graph(), CompileOptions(context=256, batch=16, page=4))


def ask(prompt: list[int], most: int = 40, **fields: Any) -> Request:
    fields.setdefault("sampler", Sampler(GREEDY))
    return Request(prompt, max_tokens=most, **fields)


def alone(program: CheckingProgram, prompt: list[int], most: int = 40) -> list[int]:
    return reply_alone(program.graph, prompt, GREEDY, context=256, max_tokens=most)[0]


def in_threads(*functions: Any) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "a thread hangs"


@pytest.mark.parametrize("background", [False, True])
def test_threads_read_their_own_streams(program: CheckingProgram, background: bool) -> None:
    results: dict[int, list[int]] = {}
    with Engine(program) as engine:
        if background:
            engine.start()

        def read(number: int) -> None:
            for _ in range(3):
                results[number] = engine.submit(ask([number, 2])).result().tokens

        in_threads(*[lambda number=number: read(number) for number in range(6)])
        engine.close()
    assert results == {number: alone(program, [number, 2]) for number in range(6)}


def test_streams_of_a_driving_engine_step_together(program: CheckingProgram) -> None:
    with Engine(program) as engine:
        streams = [engine.submit(ask([number])) for number in range(4)]
        in_threads(*[stream.result for stream in streams])
        assert engine.stats().steps < 3 * 40


def test_ctrl_c_in_the_driver_leaves_the_waiting_threads_theirs(program: CheckingProgram) -> None:
    with Engine(program) as engine:
        mine, other = engine.submit(ask([1])), engine.submit(ask([2]))
        executor = program.executors[0]
        executor.faults = {3: KeyboardInterrupt()}
        with pytest.raises(KeyboardInterrupt):
            mine.result()
        in_threads(other.result)
        assert other.tokens == alone(program, [2])
        assert mine.result().tokens == alone(program, [1])


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
def test_cancelling_in_a_signal_handler_stops_a_step_of_its_own(program: CheckingProgram) -> None:
    with Engine(program) as engine:
        stream = engine.submit(ask([1]))

        def interrupt(batch: Batch, stop: np.ndarray[Any, Any]) -> None:
            if executor.runs == 5:
                signal.raise_signal(signal.SIGUSR1)
                assert stop[0]

        executor = program.executors[0]
        executor.before_run = interrupt
        before = signal.signal(signal.SIGUSR1, lambda *_: stream.cancel())
        try:
            assert stream.result().finish_reason == "cancelled"
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert stream.tokens == alone(program, [1])[: len(stream.tokens)] and len(stream.tokens) == 4
        assert engine.submit(ask([1])).result().tokens == alone(program, [1])
        engine.check()


def test_cancelling_one_of_two_does_not_stop_the_step(program: CheckingProgram) -> None:
    with Engine(program) as engine:
        one, two = engine.submit(ask([1])), engine.submit(ask([2]))

        def interrupt(batch: Batch, stop: np.ndarray[Any, Any]) -> None:
            if program.executors[0].runs == 5:
                one.cancel()
                assert not stop[0]

        program.executors[0].before_run = interrupt
        assert two.result().tokens == alone(program, [2])
        assert one.result().finish_reason == "cancelled"
        assert engine.stats().failed_steps == 0


def test_cancel_before_the_first_piece_ends_that_reply_alone(program: CheckingProgram) -> None:
    with Engine(program) as engine:
        stream = engine.submit(ask([1]))
        stream.cancel()
        assert stream.result().tokens == [] and stream.finish_reason == "cancelled"
        assert engine.submit(ask([1])).result().tokens == alone(program, [1])


def test_a_collected_stream_gives_its_pages_back(program: CheckingProgram) -> None:
    with Engine(program) as engine:
        stream = engine.submit(ask([1, 2, 3, 4, 5]))
        next(stream)
        assert engine.stats().groups[0].used
        del stream
        gc.collect()
        engine.step()
        assert engine.stats().finished == {"cancelled": 1} and not engine.stats().groups[0].used


def test_a_closed_stream_holds_what_was_handed_out(program: CheckingProgram) -> None:
    with Engine(program) as engine:
        stream, other = engine.submit(ask([1])), engine.submit(ask([2]))
        next(stream)
        for _ in range(5):
            engine.step()
        stream.close()
        other.result()
        assert list(stream) == [] and stream.tokens == alone(program, [1])[:1]
        assert stream.finish_reason == "cancelled"


def test_calls_from_inside_a_step_raise_by_name(program: CheckingProgram) -> None:
    with Engine(program) as engine:
        other = engine.submit(ask([2]))
        caught: list[str] = []

        class Meddler:
            def propose(self, tokens: Any, count: int) -> list[int]:
                for call in (
                    lambda: engine.submit(ask([1])),
                    engine.step,
                    engine.close,
                    engine.start,
                    lambda: [next(other) for _ in range(9)],
                ):
                    with pytest.raises(ZigAIError, match="inside a step") as error:
                        call()
                    caught.append(str(error.value).split(":")[0])
                return []

        assert engine.submit(ask([1], drafter=Meddler())).result().tokens == alone(program, [1])
        assert caught[:5] == ["submit", "step", "close", "start", "reading a stream"]


@pytest.mark.parametrize("where", ["on_ready", "signal handler"])
def test_calls_that_wait_raise_by_name_on_the_thread_that_drives(
    program: CheckingProgram, where: str
) -> None:
    with Engine(program) as engine:
        other, mine = engine.submit(ask([2], 90)), engine.submit(ask([1]))
        caught: set[str] = set()

        def meddle(*_: Any) -> None:
            for call in (engine.step, engine.close, lambda: [next(other) for _ in range(99)]):
                with pytest.raises(ZigAIError, match="on the thread that drives it") as error:
                    call()
                caught.add(str(error.value).split(":")[0])

        before = signal.signal(signal.SIGINT, meddle)
        try:
            mine.on_ready(meddle if where == "on_ready" else lambda: signal.raise_signal(signal.SIGINT))
            assert mine.result().tokens == alone(program, [1])
        finally:
            signal.signal(signal.SIGINT, before)
        assert caught == {"step", "close", "reading a stream"}
        assert other.result().tokens == alone(program, [2], 90)


def test_a_request_may_be_submitted_when_another_one_is_ready(program: CheckingProgram) -> None:
    with Engine(program) as engine:
        first, others = engine.submit(ask([1], 1)), []
        first.on_ready(lambda: others.append(engine.submit(ask([2]))))
        first.result()
        assert [other.result().tokens for other in others] == [alone(program, [2])] * len(others) != []


def test_threads_may_start_and_close_an_engine_at_once(program: CheckingProgram) -> None:
    def drivers() -> int:
        return sum(thread.name == "zigai-engine" for thread in threading.enumerate())

    before = drivers()
    for _ in range(20):
        engine = Engine(program)
        stream = engine.submit(ask([1], 250))
        in_threads(*[engine.start] * 4)
        assert drivers() == before + 1
        in_threads(*[engine.close] * 4, stream.result)
        assert stream.finish_reason in ("cancelled", "length") and drivers() == before


def test_ready_is_called_when_there_is_something_and_its_exception_ends_the_request(
    program: CheckingProgram,
) -> None:
    with Engine(program) as engine:
        calls: list[int] = []
        good, bad = engine.submit(ask([1], 3)), engine.submit(ask([2], 30))
        good.on_ready(lambda: calls.append(1))

        def fail() -> None:
            raise OSError("loop is closed")

        bad.on_ready(fail)
        good.result()
        assert len(calls) >= 3
        with pytest.raises(OSError, match="loop is closed"):
            bad.result()


def test_a_background_thread_drives_for_readers_that_only_poll(program: CheckingProgram) -> None:
    with Engine(program) as engine:
        engine.start()
        ready = threading.Event()
        stream = engine.submit(ask([1], 200))
        stream.on_ready(ready.set)
        while not stream.done:
            assert ready.wait(20)
            ready.clear()
            while stream.poll() is not None:
                pass
        assert stream.tokens == alone(program, [1], 200)


def test_the_background_thread_does_not_keep_an_engine(program: CheckingProgram) -> None:
    engine = Engine(program)
    engine.start()
    engine.submit(ask([1])).result()
    background = engine._background
    assert background is not None
    thread, gone = background._thread, weakref.ref(engine)
    del engine, background
    gc.collect()
    thread.join(20)
    assert not thread.is_alive() and gone() is None


@pytest.mark.parametrize("background", [False, True])
def test_close_from_another_thread_ends_a_running_reader(program: CheckingProgram, background: bool) -> None:
    engine = Engine(program)
    closes, submitted = threading.Thread(target=engine.close), threading.Event()

    def hold(batch: Batch, stop: np.ndarray[Any, Any]) -> None:
        if executor.runs == 5:
            submitted.wait(20)
            closes.start()
            while not engine._closing:
                time.sleep(0.001)

    executor = program.executors[0]
    executor.before_run = hold
    if background:
        engine.start()
    stream, waiting = engine.submit(ask([1], 250)), engine.submit(ask([2], 250))
    submitted.set()
    in_threads(stream.result, waiting.result)
    closes.join(20)
    assert not closes.is_alive()
    assert stream.finish_reason == waiting.finish_reason == "cancelled"
    assert stream.tokens == alone(program, [1], 250)[: len(stream.tokens)] and len(stream.tokens) < 6


@pytest.mark.parametrize("background", [False, True])
def test_ctrl_c_in_a_wait_leaves_the_driver_and_both_replies(
    program: CheckingProgram, background: bool
) -> None:
    with Engine(program) as engine:
        inside, go = threading.Event(), threading.Event()

        def hold(batch: Batch, stop: np.ndarray[Any, Any]) -> None:
            if executor.runs == 4:
                inside.set()
                assert go.wait(20)

        executor = program.executors[0]
        executor.before_run = hold
        if background:
            engine.start()
        mine, other = engine.submit(ask([1])), engine.submit(ask([2]))
        drives = threading.Thread(target=other.result)
        drives.start()
        assert inside.wait(20)
        while mine.poll() is not None:
            pass
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                next(mine)  # waits for the other thread's step
        finally:
            signal.signal(signal.SIGALRM, before)
        go.set()
        drives.join(20)
        assert other.tokens == alone(program, [2]) and mine.result().tokens == alone(program, [1])
