"""A model in a child process: streams that were open stay the parent's, and new replies work."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from zigai_core.contracts.errors import ZigAIError
from zigai_core.testing.engine.scripted import scripted_model
from zigai_core.text.chat_template import ChatTemplate

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

TEXT = scripted_model().generate("abc", temperature=0, max_tokens=12).text


def in_child(check: Callable[[], None]) -> None:
    """Runs a function in a child process, which must end without an exception within a minute."""
    sys.stderr.flush()
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends the child
        try:
            check()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_running_reply_stays_the_parents_and_a_new_one_has_the_same_text() -> None:
    model = scripted_model()
    running = model.generate("abc", temperature=0, max_tokens=12)
    first = next(running)

    def check() -> None:
        for read in (lambda: next(running), lambda: running.text, lambda: str(running)):
            with pytest.raises(ZigAIError, match="opened before the process was forked"):
                read()
        assert running.read_text == first
        running.close()
        assert model.generate("abc", temperature=0, max_tokens=12).text == TEXT
        assert model.stats().submitted == 1
        model.close()

    in_child(check)
    assert running.text == TEXT


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("background", [False, True])
def test_a_fork_while_another_thread_is_inside_a_step(
    background: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scripted_model("a" * 60)
    driven, go_on = threading.Event(), threading.Event()
    executor = model.engine._stepper.executor
    run = executor.run

    def hold(*given: Any) -> Any:
        driven.set()
        assert go_on.wait(60)
        return run(*given)

    monkeypatch.setattr(executor, "run", hold)
    running = model.generate("x")
    thread = threading.Thread(target=lambda: running.text)
    if background:
        model.engine.start()
    thread.start()
    assert driven.wait(20)

    def check() -> None:
        with pytest.raises(ZigAIError, match="opened before the process was forked"):
            next(running)
        if background:
            model.engine.start()
        assert model.generate("abc", temperature=0, max_tokens=12).text == TEXT
        model.close()

    try:
        in_child(check)
    finally:
        go_on.set()
        thread.join(20)
    assert not thread.is_alive()
    assert (running.text, running.finish_reason) == ("a" * 60, "end")


def test_a_reply_that_has_ended_can_be_read() -> None:
    model = scripted_model()
    read = model.generate("abc", temperature=0, max_tokens=12)
    assert read.text == TEXT
    ended = model.generate("abc", temperature=0, max_tokens=12)
    while model.engine.step():
        pass

    def check() -> None:
        assert read.text == ended.text == TEXT
        assert (read.finish_reason, ended.finish_reason) == ("length", "length")

    in_child(check)


@pytest.mark.parametrize("running", [False, True])
def test_a_background_thread_stays_the_parents(running: bool) -> None:
    model = scripted_model(context=400)

    async def text() -> str:
        return await model.agenerate("abc", temperature=0, max_tokens=12)

    def check() -> None:
        assert model.generate("abc", temperature=0, max_tokens=12).text == TEXT
        assert asyncio.run(text()) == TEXT
        if running:
            with pytest.raises(ZigAIError, match="opened before the process was forked"):
                next(left.reply)
        model.close()

    assert asyncio.run(text()) == TEXT
    if running:
        left = model.agenerate("x", temperature=0)
    in_child(check)
    if running:
        left.cancel()
    assert asyncio.run(text()) == TEXT
    model.close()


def test_a_chat_goes_on_in_the_child_with_what_was_read() -> None:
    model = scripted_model("one", "two", "three")
    chat = model.chat(template=ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}"))
    assert chat.send("a").text == "one"
    left = chat.send("b")
    read = next(left)

    def check() -> None:
        assert chat.send("c").text == "three"
        contents = [message["content"] for message in chat.messages]
        assert contents == ["a", "one", "b", read, "c", "three"]

    in_child(check)
    assert left.text == "two"
