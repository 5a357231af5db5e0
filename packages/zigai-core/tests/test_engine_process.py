"""An engine at the end of its process, and of the thread that made it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from zigai_core.testing.engine.scripted import scripted_model

OPEN = """
import threading
from zigai_core.testing.engine.scripted import scripted_model
from zigai_core.text.chat_template import ChatTemplate

model = scripted_model(*["a" * 900] * 3, context=1000)
chat = model.chat(template=ChatTemplate("{{ messages[-1].content }}"))
reply, turn, other = model.generate("x"), chat.send("y"), model.generate("z")
next(reply), next(turn), next(other)
"""

LEFT_OPEN = {
    "read by nobody": "",
    "of a background thread": "model.engine.start()\nnext(reply)",
    "driven by a daemon thread": (
        "begun = threading.Event()\n"
        "reply.stream.on_ready(begun.set)\n"
        "threading.Thread(target=lambda: reply.text, daemon=True).start()\n"
        "begun.wait()"
    ),
    "waited for by a daemon thread": (
        "model.engine.start()\nthreading.Thread(target=lambda: turn.text, daemon=True).start()\nnext(reply)"
    ),
    "in a cycle": "reply.itself = reply\nturn.itself = turn\ndel reply, turn",
    "in a cycle with a background thread": "model.engine.start()\nmodel.itself = model\ndel model",
}


@pytest.mark.parametrize("how", LEFT_OPEN.values(), ids=LEFT_OPEN)
def test_the_interpreter_ends_with_streams_open(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", OPEN + how], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def in_a_thread_that_ends(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "the thread hangs"


@pytest.mark.parametrize("background", [False, True])
def test_a_stream_goes_on_when_the_thread_that_made_the_engine_has_ended(background: bool) -> None:
    expected = scripted_model().generate("x", temperature=0, max_tokens=20).text
    made: list[Any] = []

    def load() -> None:
        model = scripted_model()
        if background:
            model.engine.start()
        reply = model.generate("x", temperature=0, max_tokens=20)
        made.extend((model, reply, next(reply)))

    in_a_thread_that_ends(load)
    model, reply, _ = made
    texts: list[str] = []
    in_a_thread_that_ends(lambda: texts.append(reply.text))
    assert texts == [expected]
    assert model.generate("x", temperature=0, max_tokens=20).text == expected
