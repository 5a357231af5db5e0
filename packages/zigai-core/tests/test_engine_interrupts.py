"""Ctrl-C at any point of the engine's Python code: no reply is changed, nothing is lost, nothing leaks."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import zigai_core
from zigai_core.contracts.errors import ZigAIError
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Budget, Request, drop_middle
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.stream import Stream
from zigai_core.testing.engine.checking_executor import CheckingProgram, checking_graph
from zigai_core.testing.engine.expected_replies import reply_alone
from zigai_core.testing.engine.interrupts import Interrupt
from zigai_core.text.stream import TextStream

ROOT = Path(zigai_core.__file__).parent
FOLDERS = [ROOT / "engine", ROOT / "text" / "stream.py"]

POINTS = int(os.environ.get("ZIGAI_ENGINE_INTERRUPTS", "48"))
"""Points at which the scenario is interrupted, evenly spread; 10,000 are all."""

OPTIONS = SamplingOptions(seed=7, steps=("penalties", "temperature"), repeat_penalty=1.3)
LENGTH = 9
PROMPTS = ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 7, 8, 9], [9] * 13, [1, 2, 3])
CONTEXT = 20


class Letters:
    """A tokenizer's decoder: the token 5 is the byte 5."""

    def decode_bytes(self, tokens: Any, *, special: bool = False) -> bytes:
        return bytes(65 + token for token in tokens)

    def decode(self, tokens: Any, *, special: bool = False) -> str:
        return self.decode_bytes(tokens).decode()


class Wrong:
    """Proposes tokens of which some are right."""

    def propose(self, tokens: Any, count: int) -> list[int]:
        return [(sum(tokens) + place) % 3 for place in range(count)]


def request(number: int) -> Request:
    return Request(
        PROMPTS[number],
        max_tokens=LENGTH,
        sampler=Sampler(OPTIONS),
        text=TextStream(Letters(), stop=["never a part"]),
        overflow="shift",
        drafter=Wrong() if number == 1 else None,
        outputs="hidden" if number == 0 else None,
    )


def expected(program: CheckingProgram, number: int) -> list[int]:
    tokens, _ = reply_alone(
        program.graph, PROMPTS[number], OPTIONS, context=CONTEXT, max_tokens=LENGTH, shift=drop_middle(1)
    )
    return list(tokens)


class Conversation:
    """Four requests, of which the third is left in the middle, read in turn."""

    def __init__(self, program: CheckingProgram) -> None:
        self.engine = Engine(program, budget=Budget(tokens=CONTEXT * 2, sequences=3), queue=5)
        self.streams: dict[int, Stream] = {}
        self.left: Stream | None = None

    def hold(self) -> None:
        """Submits and reads all that is not submitted and read yet."""
        for number in range(len(PROMPTS)):
            if number not in self.streams:
                self.streams[number] = self.engine.submit(request(number))
        if self.left is None:
            self.left = self.engine.fork(self.streams[3], request(3))
            next(self.left)
        self.left.close()
        while not all(stream.done for stream in self.streams.values()):
            for stream in self.streams.values():
                next(stream, None)


def program() -> CheckingProgram:
    graph = checking_graph(windows=[6], recurrent=True)
    return CheckingProgram(graph, CompileOptions(context=CONTEXT, batch=12, page=4))


def check(talk: Conversation, given: CheckingProgram) -> None:
    """The replies are what they are without an interrupt, and all pages are given back."""
    talk.hold()
    for number, stream in talk.streams.items():
        right = expected(given, number)
        assert (stream.tokens, stream.finish_reason) == (right, "length")
        assert stream.text == Letters().decode(right) == stream.channel.text
        assert stream.usage.generated_tokens == LENGTH
    assert talk.streams[0].outputs.shape == (1, talk.streams[0].outputs.shape[1])
    talk.engine.step()
    talk.engine.check()
    stats = talk.engine.stats()
    assert (stats.waiting, stats.running, talk.engine._inbox.commands) == (
        0,
        0,
        type(talk.engine._inbox.commands)(),
    )
    assert not any(group.used for group in stats.groups)
    talk.engine.close()


def count_points() -> int:
    talk = Conversation(given := program())
    with Interrupt(10**9, FOLDERS) as counted:
        talk.hold()
    check(talk, given)
    return counted.points


def test_ctrl_c_anywhere_changes_no_reply() -> None:
    total = count_points()
    assert total > 5000
    given = program()
    count = min(POINTS, total)
    for at in sorted({1 + round(place * (total - 1) / (count - 1)) for place in range(count)}):
        talk = Conversation(given)
        interrupted = False
        try:
            with Interrupt(at, FOLDERS):
                talk.hold()
        except KeyboardInterrupt:
            interrupted = True
        try:
            check(talk, given)
        except Exception as fault:
            raise AssertionError(f"after an interrupt at point {at} of {total}") from fault
        assert interrupted or at > 0.9 * total


def test_an_interrupted_close_ends_all_streams_and_another_one_completes_it() -> None:
    def make(given: CheckingProgram) -> tuple[Engine, Stream]:
        engine = Engine(given)
        stream = engine.submit(request(0))
        next(stream)
        return engine, stream

    engine, stream = make(program())
    with Interrupt(10**9, FOLDERS) as counted:
        engine.close()
    for at in range(1, counted.points + 1):
        engine, stream = make(program())
        with suppress(KeyboardInterrupt), Interrupt(at, FOLDERS):
            engine.close()
        if engine._closing and at % 2:
            assert stream.result().finish_reason == "cancelled"
        engine.close()
        assert stream.result().finish_reason == "cancelled"
        with pytest.raises(ZigAIError, match="the engine is closed"):
            engine.submit(request(0))
        assert not engine._stepper.sequences


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="no alarm on this system")
def test_a_signal_handler_that_cancels_anywhere_blocks_nothing() -> None:
    def block(*_: object) -> None:
        raise AssertionError("a cancellation blocks")

    given = program()
    right, others = expected(given, 3), expected(given, 0)
    before = signal.signal(signal.SIGALRM, block)
    try:
        at = passed = 0
        while passed >= at:  # the last point was reached
            at += 1 if at < 300 else 41  # every point of `submit`
            with Engine(given) as engine:
                stream = engine.submit(request(3))
                signal.alarm(30)
                with Interrupt(at, FOLDERS, stream.cancel) as counted:
                    other = engine.submit(request(0))
                    tokens = stream.result().tokens
                signal.alarm(0)
                passed = counted.points
                assert tokens == right[: len(tokens)]
                assert stream.finish_reason == "cancelled" or tokens == right
                assert other.result().tokens == others
                engine.step()
                engine.check()
                assert not any(group.used for group in engine.stats().groups)
        assert at > 1000
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupted_start_leaves_no_thread_that_keeps_the_role() -> None:
    folders = [*FOLDERS, Path(threading.__file__)]

    def start(at: int) -> tuple[Engine, int]:
        engine = Engine(program())
        # RuntimeError: of the lock of a condition of the standard library, which was interrupted itself
        with suppress(KeyboardInterrupt, RuntimeError), Interrupt(at, folders) as counted:
            engine.start()
        return engine, counted.points

    engine, points = start(10**9)
    engine.close()
    assert points > 20
    for at in range(1, points + 1):
        engine, _ = start(at)
        assert engine.submit(request(0)).result().finish_reason == "length"
        engine.start()
        assert engine.submit(request(0)).result().finish_reason == "length"
        engine.close()
    for _ in range(200):
        if not any(each.name == "zigai-engine" and each.is_alive() for each in threading.enumerate()):
            return
        time.sleep(0.01)
    raise AssertionError("a thread is left")
