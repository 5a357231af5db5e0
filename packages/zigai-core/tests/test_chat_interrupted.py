"""A chat in signal handlers, threads and forked children: nothing blocks, no turn is mixed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from zigai_core.contracts.errors import (
    ChatBusyError,
)
from zigai_core.engine.drawing import Drawer
from zigai_core.engine.sequence import Sequence
from zigai_core.testing.engine.scripted import scripted_chat as chat
from zigai_core.testing.engine.scripted import scripted_model

TOKENIZER = scripted_model().tokenizer


def handler_of(action: Callable[[], object]) -> Callable[..., list[int]]:
    """An `encode` that is interrupted by a signal, whose handler does this."""
    signal.signal(signal.SIGUSR1, lambda *_: action())

    def encode(*given: Any, **keywords: Any) -> list[int]:
        signal.raise_signal(signal.SIGUSR1)
        return list(TOKENIZER.encode(*given, **keywords))

    return encode


def test_reset_in_a_signal_handler_during_a_send_makes_the_turn_not_join() -> None:
    c = chat("lost", "yes")
    c._tokenizer.encode = handler_of(c.reset)  # type: ignore[method-assign]
    reply = c.send("hi")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert (reply.text, reply.finish_reason, c.messages) == ("", "cancelled", [])
    assert c.send("again").text == "yes"
    assert [message["content"] for message in c.messages] == ["again", "yes"]


def test_a_message_is_refused_while_another_is_being_sent() -> None:
    c = chat("yes", "no")
    refused: list[str] = []

    def send() -> None:
        for action in (lambda: c.send("two"), lambda: setattr(c, "messages", [])):
            with pytest.raises(ChatBusyError, match="another message is being sent") as caught:
                action()
            refused.append(str(caught.value))

    c._tokenizer.encode = handler_of(send)  # type: ignore[method-assign]
    assert c.send("one").text == "yes"
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert len(refused) == 2
    assert c.send("more").text == "no"


def test_threads_that_send_while_a_reply_is_open_are_refused_and_change_nothing() -> None:
    c = chat("abcdef", "next")
    reply = c.send("one")
    refused: list[str] = []

    def send(text: str) -> None:
        try:
            refused.append(f"got {c.send(text).text!r}")
        except ChatBusyError as error:
            refused.append(str(error))

    for piece in "abc":
        assert next(reply) == piece
        threads = [threading.Thread(target=send, args=(text,)) for text in ("two", "three")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert ["a reply is open" in each for each in refused] == [True] * 6, refused
    assert reply.text == "abcdef"
    assert c.send("more").text == "next"
    assert [message["content"] for message in c.messages] == ["one", "abcdef", "more", "next"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_was_forked_during_a_send_may_use_the_chat() -> None:
    c = chat("yes", "no")
    inside, go = threading.Event(), threading.Event()

    def encode(*given: Any, **keywords: Any) -> list[int]:
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            go.wait(10)
        return list(TOKENIZER.encode(*given, **keywords))

    c._tokenizer.encode = encode  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: c.send("hi").text)
    thread.start()
    inside.wait(10)
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(10)
            os._exit(0 if c.messages == [] and c.send("x").text == "yes" and len(c.messages) == 2 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    go.set()
    thread.join()
    assert [message["content"] for message in c.messages] == ["hi", "yes"]


def test_ctrl_c_between_a_shift_and_its_use_drops_no_other_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[list[int]] = []
    shift, interrupts = Drawer._shift, [False, True]

    def interrupted(self: Drawer, sequence: Sequence) -> list[int]:
        made.append(shift(self, sequence))
        if interrupts.pop() if interrupts else False:
            raise KeyboardInterrupt
        return made[-1]

    monkeypatch.setattr(Drawer, "_shift", interrupted)
    c = chat("a" * 26, "b" * 26, "c" * 26, "0123456789" * 30, context=200, overflow="shift")
    for word in ("one", "two", "three"):
        assert c.send(word).text
    reply = c.send("four", max_tokens=120)
    with pytest.raises(KeyboardInterrupt):
        assert reply.text
    assert reply.text == ("0123456789" * 30)[:120]
    assert made[0] == made[1]
