"""Garbage collection inside a step: what is collected there blocks nothing and changes no reply."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from zigai_core.api.model import Model
from zigai_core.engine.sampling import Sampler
from zigai_core.testing.engine.scripted import scripted_model
from zigai_core.text.chat_template import ChatTemplate

TEMPLATE = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", origin="the test's template")
TEXT = scripted_model().generate("abc", temperature=0, max_tokens=12).text


class Cycle:
    """Refers to itself, so that only the collector frees it and what it holds."""

    def __init__(self, *held: object) -> None:
        self.held = held
        self.itself = self


def stream(model: Model) -> Cycle:
    reply = model.generate("left")
    next(reply)
    return Cycle(reply)


def chat(model: Model) -> Cycle:
    talk = model.chat(template=TEMPLATE)
    reply = talk.send("left")
    next(reply)
    return Cycle(talk, reply)


def other_model(model: Model) -> Cycle:
    other = scripted_model()
    return Cycle(other, stream(other), other.engine)


def other_model_in_the_background(model: Model) -> Cycle:
    other = scripted_model()
    other.engine.start()
    assert other.generate("x", temperature=0, max_tokens=3).text  # its thread is idle then
    return Cycle(other, other.engine)


@pytest.fixture(autouse=True)
def collected_by_hand() -> Iterator[None]:
    """Only the tests collect."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def collect_in_a_sampler(monkeypatch: pytest.MonkeyPatch, model: Model, collect: Callable[[], None]) -> None:
    sample = Sampler.sample

    def sample_and_collect(self: Sampler, *given: Any, **keywords: Any) -> int:
        collect()
        return sample(self, *given, **keywords)

    monkeypatch.setattr(Sampler, "sample", sample_and_collect)


def collect_in_run(monkeypatch: pytest.MonkeyPatch, model: Model, collect: Callable[[], None]) -> None:
    executor = model.engine._stepper.executor
    run = executor.run

    def run_and_collect(*given: Any) -> Any:
        outputs = run(*given)
        collect()
        return outputs

    monkeypatch.setattr(executor, "run", run_and_collect)


@pytest.mark.parametrize("background", [False, True], ids=["driven by the reader", "in the background"])
@pytest.mark.parametrize("where", [collect_in_a_sampler, collect_in_run])
@pytest.mark.parametrize("what", [stream, chat, other_model, other_model_in_the_background])
def test_what_is_collected_inside_a_step_blocks_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, what: Callable[[Model], Cycle], where: Any, background: bool
) -> None:
    model = scripted_model("left" * 20) if what in (stream, chat) else scripted_model()
    litter = what(model)
    gone, texts = weakref.ref(litter), list[str]()
    holder = [litter]
    del litter
    in_steps: list[bool] = []

    def collect() -> None:
        holder.clear()
        gc.collect()
        in_steps.append(gone() is None)

    where(monkeypatch, model, collect)
    if background:
        model.engine.start()
    reply = model.generate("abc", temperature=0, max_tokens=12)
    thread = threading.Thread(target=lambda: texts.append(reply.text), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "collecting inside a step blocks"
    assert texts == [TEXT]
    assert in_steps[0], "nothing was collected"
    assert model.generate("abc", temperature=0, max_tokens=12).text == TEXT
    monkeypatch.undo()
    if not background:
        model.engine.step()
        model.engine.check()
        assert not any(group.used for group in model.stats().groups)
        assert model.stats().finished.get("cancelled", 0) == (what in (stream, chat))
    model.close()


def test_a_chat_forgets_a_reply_that_is_collected_after_a_reset() -> None:
    talk = scripted_model("stale answer", "new").chat(template=TEMPLATE)
    left = Cycle(talk.send("old"))
    reply: Any = left.held[0]
    next(reply)
    talk.reset()
    assert talk.send("hi").text == "new"
    del left, reply
    gc.collect()
    assert [message["content"] for message in talk.messages] == ["hi", "new"]


COLLECTING = """
import faulthandler, gc, threading
from zigai_core.testing.engine.scripted import scripted_model
gc.disable()
model = scripted_model()
model.engine.start()
model.engine.itself = model.engine
assert model.generate("x", temperature=0, max_tokens=3).text
thread = model.engine._background._thread
del model
faulthandler.dump_traceback_later(10, exit=True)
while thread.is_alive():  # it may still be in its last step
    with threading._active_limbo_lock:  # where the collector may run, as in threading.enumerate()
        gc.collect()
    thread.join(0.05)
"""


def test_a_model_in_the_background_may_be_collected_where_ending_threads_wait() -> None:
    done = subprocess.run([sys.executable, "-c", COLLECTING], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
