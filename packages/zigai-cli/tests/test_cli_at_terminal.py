"""`zig-ai` at a pseudo-terminal: what a user types and sees."""

from __future__ import annotations

import io
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals that pexpect can use", allow_module_level=True)

import pexpect

PROMPT = "> "


class Terminal:
    """A `zig-ai` process on a pseudo-terminal, with all of its output."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self._written = io.StringIO()
        self._child = pexpect.spawn(
            sys.executable,
            ["-m", "zigai_cli", *arguments],
            env=env,  # type: ignore[arg-type]  # its annotation has os.environ's own class
            encoding="utf-8",
            codec_errors="replace",
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._child.logfile_read = self._written
        self._child.delaybeforesend = None

    @property
    def seen(self) -> str:
        return self._written.getvalue()

    def type(self, text: str) -> None:
        self._child.send(text)

    def expect(self, text: str, timeout: float = 30.0) -> str:
        """Wait for a text. Returns the output since the last call, up to the end of that text."""
        self._child.expect_exact(text, timeout=timeout)
        return f"{self._child.before}{text}"

    def exit_code(self, timeout: float = 30.0) -> int:
        self._child.expect(pexpect.EOF, timeout=timeout)
        self._child.close()
        return -self._child.signalstatus if self._child.signalstatus else self._child.exitstatus

    def close(self) -> None:
        self._child.close(force=True)


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(*arguments: object, **env: str) -> Terminal:
        opened.append(Terminal([str(argument) for argument in arguments], environment | env))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


@pytest.fixture
def chat(terminal: Callable[..., Terminal], model: Path) -> Terminal:
    started = terminal("chat", "-m", model, "--overflow", "shift")
    started.expect(PROMPT)
    return started


def test_the_first_lines_name_model_backend_and_template(
    terminal: Callable[..., Terminal], model: Path
) -> None:
    head = terminal("chat", "-m", model).expect(PROMPT)
    assert "toy model (toy, " in head
    assert "toy, the fastest installed backend" in head
    assert "template: " in head
    assert "Ctrl-D leaves" in head


def test_reasoning_is_dim_and_apart_from_the_answer(chat: Terminal) -> None:
    chat.type("why?\n")
    shown = chat.expect(PROMPT)
    assert "\x1b[2mhm\x1b[0m\r\n\r\nHello, world" in shown
    assert "<think>" not in shown
    chat.type("\x04")
    assert chat.exit_code() == 0


def test_hidden_reasoning_is_not_shown(terminal: Callable[..., Terminal], model: Path) -> None:
    hidden = terminal("chat", "-m", model, "--reasoning", "hide")
    hidden.expect(PROMPT)
    hidden.type("why?\n")
    shown = hidden.expect(PROMPT)
    assert "hm" not in shown
    assert "Hello, world" in shown


def test_a_reply_is_followed_by_statistics_and_ctrl_d_leaves(chat: Terminal) -> None:
    chat.type("hi\n")
    assert "Hello, world" in chat.expect(PROMPT)
    assert re.search(r"\x1b\[2mprefill 3 tokens, [\d.]+/s · decode 3, [\d.]+/s · first token", chat.seen)
    chat.type("again\n")
    assert "cached)" in chat.expect(PROMPT)
    chat.type("\x04")
    assert chat.exit_code() == 0


def test_ctrl_c_stops_the_reply_and_not_the_program(chat: Terminal) -> None:
    chat.type("go!\n")
    chat.expect("tick tick tick")
    chat.type("\x03")
    assert "stopped" in chat.expect(PROMPT, timeout=20)
    chat.type("hi\n")
    assert "Hello, world" in chat.expect(PROMPT)
    chat.type("\x04")
    assert chat.exit_code() == 0


def test_ctrl_c_stops_a_reply_during_a_long_step(chat: Terminal) -> None:
    chat.type("long@\n")
    chat.expect("|\b/\b")
    chat.type("\x03")
    assert "\r\n\x1b[2m(stopped)" in chat.expect(PROMPT, timeout=20)
    chat.type("hi\n")
    assert "Hello, world" in chat.expect(PROMPT)


def test_ctrl_c_at_the_prompt_prints_how_to_leave(chat: Terminal) -> None:
    for typed in ("\x03", "half a line\x03"):
        time.sleep(1.5)  # readline handles signals only some time after it has printed the prompt
        chat.type(typed)
        chat.expect("Ctrl-D or /quit leaves")
        chat.expect(PROMPT)
    chat.type("/quit\n")
    assert chat.exit_code() == 0


def test_help_reset_and_quit_are_commands_and_unknown_ones_are_named(chat: Terminal) -> None:
    chat.type("/help\n")
    assert "/reset" in chat.expect(PROMPT)
    chat.type("/bogus\n")
    assert "there is no command /bogus" in chat.expect(PROMPT)
    chat.type("hi\n")
    chat.expect(PROMPT)
    chat.type("/reset\n")
    assert "a new conversation" in chat.expect(PROMPT)
    chat.type("hi\n")
    assert "context 6/64" in chat.expect(PROMPT)
    for text in ("/usr/bin is a path*\n", "//bogus*\n"):
        chat.type(text)
        assert "☃" in chat.expect(PROMPT)
    chat.type("/quit\n")
    assert chat.exit_code() == 0


def test_a_model_cannot_send_escape_sequences(terminal: Callable[..., Terminal], model: Path) -> None:
    chat = terminal("chat", "-m", model, "--no-stats", NO_COLOR="1")
    chat.expect(PROMPT)
    chat.type("paint#\n")
    reply = chat.expect("line")
    assert "[31mred\tnext" in reply
    shown = re.sub(r"\x1b\[\?2004[hl]", "", chat.seen)  # without readline's sequences for bracketed paste
    assert not re.search(r"[\x1b\x9b\x07\x7f]", shown)


def test_an_error_in_a_turn_does_not_end_the_conversation(
    terminal: Callable[..., Terminal], model: Path
) -> None:
    chat = terminal("chat", "-m", model, "--overflow", "error")
    chat.expect(PROMPT)
    chat.type("x" * 90 + "\n")
    assert "error: " in chat.expect(PROMPT)
    chat.type("/reset\n")
    chat.expect(PROMPT)
    chat.type("hi\n")
    assert "Hello, world" in chat.expect(PROMPT)


def test_a_full_context_is_explained(terminal: Callable[..., Terminal], model: Path) -> None:
    chat = terminal("chat", "-m", model, "--overflow", "stop")
    chat.expect(PROMPT)
    chat.type("go!\n")
    shown = chat.expect(PROMPT)
    assert "the context of 64 tokens is full" in shown
    assert "/reset starts a new conversation" in shown
    chat.type("x" * 90 + "\n")
    shown = chat.expect(PROMPT)
    assert "no room for a reply: the prompt has" in shown
    assert "/reset starts a new conversation" in shown


def test_ctrl_c_ends_generate_with_130(terminal: Callable[..., Terminal], model: Path) -> None:
    process = terminal("generate", "-m", model, "go!", "--overflow", "shift")
    process.expect("tick tick")
    process.type("\x03")
    assert process.exit_code() == 130
    assert "Traceback" not in process.seen


def test_the_progress_bar_of_loading_appears_and_is_erased(
    terminal: Callable[..., Terminal], model: Path
) -> None:
    process = terminal("generate", "-m", model, "hi", TOY_LOADS_SLOWLY="1")
    process.expect("loading model.toy")
    process.expect("100/100 bytes")
    assert process.expect("Hello, world").endswith("\x1b[2KHello, world")
    assert process.exit_code() == 0


def test_ctrl_c_stops_loading(terminal: Callable[..., Terminal], model: Path) -> None:
    process = terminal("chat", "-m", model, TOY_LOADS_SLOWLY="1")
    process.expect("loading model.toy")
    process.type("\x03")
    assert process.exit_code() == 130
    assert "Traceback" not in process.seen


def test_perplexity_shows_the_result_so_far_and_ends_on_ctrl_c(
    terminal: Callable[..., Terminal], model: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("!" * 6400)  # the toy takes a hundredth of a second for each
    process = terminal("perplexity", "-m", str(model), str(text), "--context", "64")
    assert "±" in process.expect("s left")
    process.expect("window 2 of 100")
    process.type("\x03")
    assert process.exit_code() == 130
    assert "Traceback" not in process.seen


def test_history_rm_asks_first(terminal: Callable[..., Terminal], model: Path, tmp_path: Path) -> None:
    home = {"ZIGAI_HOME": str(tmp_path / "asked")}
    chat = terminal("chat", "-m", model, **home)
    chat.expect(PROMPT)
    chat.type("hi\n")
    chat.expect(PROMPT)
    chat.type("\x04")
    assert chat.exit_code() == 0
    for answer, code in (("n\n", 1), ("\x03", 1), ("y\n", 0)):
        process = terminal("history", "rm", "--all", **home)
        process.expect("1: hi (2 messages)")
        process.expect("delete? [y/N]: ")
        process.type(answer)
        assert process.exit_code() == code
    listed = terminal("history", "list", **home)
    listed.expect("no conversation is stored yet")
    assert listed.exit_code() == 0
