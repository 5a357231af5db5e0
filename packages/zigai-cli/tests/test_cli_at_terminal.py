"""`zig-ai` at a pseudo-terminal: what a user types and sees."""

from __future__ import annotations

import contextlib
import io
import os
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
import pyte
from prompt_toolkit.key_binding.key_processor import KeyPress
from prompt_toolkit.keys import Keys

from zigai_cli.terminal.pastes import PasteParser


class Terminal:
    """A `zig-ai` process on a pseudo-terminal, with its output and the screen that it makes."""

    def __init__(self, arguments: list[str], env: dict[str, str], columns: int, rows: int) -> None:
        self._written = io.StringIO()
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self.screen)
        self._child = pexpect.spawn(
            sys.executable,
            arguments if arguments[0] == "-c" else ["-m", "zigai_cli", *arguments],
            env=env,  # type: ignore[arg-type]  # its annotation has os.environ's own class
            encoding="utf-8",
            codec_errors="replace",
            dimensions=(rows, columns),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._child.logfile_read = self._written
        self._child.delaybeforesend = None
        self._drawn = 0

    @property
    def seen(self) -> str:
        return self._written.getvalue()

    @property
    def pid(self) -> int:
        return int(self._child.pid)

    @property
    def shown(self) -> str:
        """The lines on the screen."""
        self._read(0.05)
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def type(self, text: str) -> None:
        self._child.send(text)

    def resize(self, columns: int) -> None:
        self._child.setwinsize(self.screen.lines, columns)
        self.screen.resize(columns=columns)

    def expect(self, text: str, timeout: float = 30.0) -> str:
        """Wait for a text. Returns the output since the last call, up to the end of that text."""
        self._child.expect_exact(text, timeout=timeout)
        return f"{self._child.before}{text}"

    def until(self, text: str, timeout: float = 30.0) -> str:
        """Wait until a text is on the screen. Returns the lines on it."""
        self._wait(lambda: text in self.shown, text, timeout)
        return self.shown

    def prompt(self, text: str = "", timeout: float = 30.0) -> str:
        """Wait for a prompt that has this text, with the cursor behind it. Returns the screen."""
        pattern = re.compile(rf"(\d+/\d+ |edit )?> {re.escape(text)}")

        def waits() -> bool:
            line = self.screen.display[self.screen.cursor.y][: self.screen.cursor.x]
            return pattern.fullmatch(line) is not None

        self._wait(waits, f"the prompt {text!r}", timeout)
        return self.shown

    def say(self, text: str) -> str:
        """Type a line at an empty prompt. Returns the lines from it to the next prompt."""
        self.prompt()
        self.type(text)
        self.prompt(text)
        row = self.screen.cursor.y
        self.type("\r")
        self._wait(lambda: self.screen.cursor.y > row, "the next line", 30.0)
        self.prompt()
        return "\n".join(self.shown.split("\n")[row + 1 :])

    def exit_code(self, timeout: float = 30.0) -> int:
        self._child.expect(pexpect.EOF, timeout=timeout)
        self._child.close()
        return -self._child.signalstatus if self._child.signalstatus else self._child.exitstatus

    def close(self) -> None:
        self._child.close(force=True)

    def _read(self, seconds: float) -> None:
        with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
            while True:
                self._child.expect_exact("a text that never comes \0", timeout=seconds)
        written = self.seen
        self._stream.feed(written[self._drawn :])
        self._drawn = len(written)

    def _wait(self, arrived: Callable[[], bool], what: str, timeout: float) -> None:
        end = time.monotonic() + timeout
        self._read(0.02)
        while not arrived():
            assert time.monotonic() < end, f"{what} did not come; the screen has:\n{self.shown}"
            assert self._child.isalive() or arrived(), f"the process ended before {what} came:\n{self.shown}"
            self._read(0.02)


@pytest.fixture
def terminal(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(*arguments: object, columns: int = 120, rows: int = 100, **env: str) -> Terminal:
        own = environment | {"ZIGAI_HOME": str(tmp_path / "home")} | env
        opened.append(Terminal([str(argument) for argument in arguments], own, columns, rows))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


@pytest.fixture
def chat(terminal: Callable[..., Terminal], model: Path) -> Terminal:
    return loaded(terminal("chat", "-m", model))


def loaded(chat: Terminal) -> Terminal:
    """The chat once its model is loaded and named."""
    chat.until("template: ")
    chat.prompt()
    return chat


def leave(chat: Terminal) -> None:
    chat.type("\x04")
    assert chat.exit_code() == 0


def test_the_first_lines_name_model_backend_and_template(chat: Terminal) -> None:
    head = chat.shown
    assert "toy model (toy, " in head
    assert "toy, the fastest installed backend" in head
    assert "Ctrl-D leaves" in head


def test_reasoning_is_dim_and_apart_from_the_answer(chat: Terminal) -> None:
    assert chat.say("why?").startswith("hm\n\nHello, world\n")
    assert "\x1b[2mhm\x1b[0m" in chat.seen
    assert "<think>" not in chat.shown
    leave(chat)


def test_hidden_reasoning_is_not_shown(terminal: Callable[..., Terminal], model: Path) -> None:
    hidden = loaded(terminal("chat", "-m", model, "--reasoning", "hide"))
    assert hidden.say("why?").startswith("Hello, world\n")


def test_a_reply_is_followed_by_statistics(chat: Terminal) -> None:
    shown = chat.say("hi")
    assert re.search(r"^prefill 3 tokens, [\d.]+/s · decode 3, [\d.]+/s · first token", shown, re.MULTILINE)
    assert "cached)" in chat.say("again")
    leave(chat)


def test_ctrl_c_stops_the_reply_and_not_the_program(chat: Terminal) -> None:
    chat.type("go!\r")
    chat.until("tick tick tick")
    chat.type("\x03")
    chat.until("stopped")
    assert "Hello, world" in chat.say("hi")
    leave(chat)


def test_ctrl_c_stops_a_reply_during_a_long_step(chat: Terminal, tmp_path: Path) -> None:
    chat.type("long@\r")
    chat.expect("|\b/\b")
    chat.type("\x03")
    assert "long@\n(stopped)" in chat.until("(stopped)")
    assert "Hello, world" in chat.say("hi")


def test_ctrl_c_at_the_prompt_discards_the_line_and_prints_how_to_leave(chat: Terminal) -> None:
    for count, typed in enumerate(("", "half a line"), start=1):
        chat.type(typed)
        chat.prompt(typed)
        chat.type("\x03")
        chat.prompt()
        assert chat.shown.count("Ctrl-D or /exit leaves") == count
    chat.type("/quit\r")
    assert chat.exit_code() == 0


def test_commands_run_and_unknown_ones_never_reach_the_model(chat: Terminal) -> None:
    assert "/regen" in chat.say("/help")
    assert "there is no command /sytem; did you mean /system?" in chat.say("/sytem")
    assert "usage: /stats [on|off]" in chat.say("/stats maybe")
    chat.say("hi")
    assert "a new conversation" in chat.say("/RESET")
    assert "context 6/64" in chat.say("hi")
    for text in ("/usr/bin is a path*", "//bogus*"):
        assert "☃" in chat.say(text)
    chat.type("/bye\r")
    assert chat.exit_code() == 0


def test_the_last_message_is_answered_again_edited_and_taken_back(chat: Terminal) -> None:
    chat.say("/stats off")
    assert chat.say("/regen").startswith("there is no message to answer again")
    assert chat.say("hi").startswith("Hello, world\n")
    assert chat.say("/regen").startswith("Hello, world\n")
    chat.type("/edit\r")
    chat.prompt("hi")
    chat.type("*\r")
    assert "edit > hi*\n☃\n" in chat.until("☃")
    assert chat.say("/undo").startswith("taken back: hi*")
    assert "messages: 0" in chat.say("/show")


def test_an_edit_that_is_given_up_changes_nothing(chat: Terminal) -> None:
    chat.say("hi")
    chat.type("/edit\r")
    chat.prompt("hi")
    chat.type("\x03")
    chat.until("the message is as it was")
    assert "messages: 2" in chat.say("/show")


def test_settings_are_listed_and_changed(chat: Terminal) -> None:
    listed = chat.say("/set")
    assert re.search(r"^temperature +0\.8$", listed, re.MULTILINE)
    assert re.search(r"^overflow +shift$", listed, re.MULTILINE)
    assert chat.say("/set temperature 0").startswith("temperature 0\n")
    assert "must be a number" in chat.say("/set temperature -1")
    assert "did you mean temperature?" in chat.say("/set temprature 1")
    chat.say("/set max_tokens 1")
    assert chat.say("hi").startswith("Hello\n")


def test_a_system_message_is_set_and_removed(chat: Terminal) -> None:
    chat.say("/system be kind")
    assert "be kind" in chat.say("/system")
    chat.say('/system ""')
    assert "there is no system message" in chat.say("/system")


def test_another_model_takes_over_the_messages(chat: Terminal, make_model: Callable[..., Path]) -> None:
    chat.say("hi")
    other = make_model("other.toy", name="other toy")
    assert "other toy" in chat.say(f"/model {other}")
    assert "messages: 2" in chat.say("/show")
    assert "there is no such file" in chat.say("/model /absent.toy")
    assert "Hello, world" in chat.say("hi")


def test_without_a_history_there_is_nothing_to_save(terminal: Callable[..., Terminal], model: Path) -> None:
    chat = loaded(terminal("chat", "-m", model, "--no-history"))
    assert "the history is off" in chat.say("/load 1")


def test_the_last_reply_is_copied_through_the_terminal(
    terminal: Callable[..., Terminal], model: Path
) -> None:
    chat = loaded(terminal("chat", "-m", model, PATH="/nonexistent"))
    chat.say("hi")
    assert "copied 12 characters" in chat.say("/copy")
    assert "\x1b]52;c;SGVsbG8sIHdvcmxk\x07" in chat.seen


def test_a_paste_is_one_message(chat: Terminal) -> None:
    chat.type("\x1b[200~def f(x):\r    return x\r\rf(1)*\r\x1b[201~")
    chat.until("f(1)*")
    assert "☃" not in chat.shown
    chat.type("\r")
    chat.until("☃")
    chat.prompt()
    assert "messages: 2" in chat.say("/show")


def test_a_long_paste_is_shown_as_its_length_and_sent_whole(chat: Terminal, tmp_path: Path) -> None:
    chat.type("\x1b[200~" + "x" * 30_000 + "\x1b[201~")
    chat.until("[paste 1: 30000 characters]")
    chat.type("\r")
    assert "it has 3000" in chat.until("error: ")
    leave(chat)
    typed = (tmp_path / "home" / "data" / "typed").read_text()
    assert "x" * 30_000 in typed
    assert "[paste" not in typed


def test_a_paste_of_many_pieces_is_one_message_and_the_end_mark_may_be_split() -> None:
    keys: list[KeyPress] = []
    parser = PasteParser(keys.append)
    text = "".join(f"line {number}\n" for number in range(1000))
    typed = f"a\x1b[200~{text}\x1b[201~b\x1b[200~{text}\x1b[201~"
    for length in (1, 3, 7, 4095):
        keys.clear()
        for place in range(0, len(typed), length):
            parser.feed(typed[place : place + length])
        assert [(press.key, press.data) for press in keys] == [
            ("a", "a"),
            (Keys.BracketedPaste, text),
            ("b", "b"),
            (Keys.BracketedPaste, text),
        ]


def test_ctrl_c_ends_a_paste_that_has_no_end(chat: Terminal) -> None:
    chat.type("\x1b[200~some words")
    time.sleep(0.2)
    chat.type("\x03")
    chat.until("Ctrl-D or /exit leaves the program")
    assert "Hello, world" in chat.say("hi")


def test_a_pasted_colour_sequence_without_marks_does_no_harm(chat: Terminal) -> None:
    chat.type("red \x1b[31m\x1b[0mtext")
    chat.prompt("red text")
    chat.type("\r")
    chat.until("Hello, world")
    assert "Traceback" not in chat.seen


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        ('"""one\rtwo*"""', ['> """one', '. two*"""']),
        ("one\\\rtwo*", ["> one", ". two*"]),
        ("one\x1b\rtwo*", ["> one", ". two*"]),
    ],
)
def test_a_message_may_have_several_lines(chat: Terminal, keys: str, lines: list[str]) -> None:
    chat.type(keys)
    assert "\n".join(lines) in chat.until("two*")
    assert "☃" not in chat.shown
    chat.type("\r")
    chat.until("☃")


def test_keys_typed_during_a_reply_are_the_next_line_and_are_not_shown_before(chat: Terminal) -> None:
    chat.type("go!\r")
    chat.until("tick tick")
    chat.type("nexr\x7ft line\r")
    time.sleep(0.3)
    assert "nex" not in chat.shown
    chat.type("\x03")
    chat.until("> next line\n.")
    chat.type("below\r")
    chat.until("> next line\n. below\nHello, world")


def test_typed_messages_are_kept_for_the_next_run(
    terminal: Callable[..., Terminal], model: Path, tmp_path: Path
) -> None:
    first = loaded(terminal("chat", "-m", model))
    first.say("remember this")
    leave(first)
    assert (tmp_path / "home" / "data" / "typed").stat().st_mode & 0o777 == 0o600
    second = loaded(terminal("chat", "-m", model))
    second.type("\x1b[A")
    second.prompt("remember this")


def test_what_is_typed_without_a_history_is_forgotten(
    terminal: Callable[..., Terminal], model: Path, tmp_path: Path
) -> None:
    chat = loaded(terminal("chat", "-m", model, "--no-history"))
    chat.say("forget this")
    leave(chat)
    assert not (tmp_path / "home" / "data").exists()


def test_commands_and_settings_are_completed(chat: Terminal) -> None:
    chat.type("/sys")
    assert "show or set the system message" in chat.until("/system [TEXT]")
    chat.type("\t")
    chat.prompt("/system")
    chat.type("\x15/set repeat")
    chat.until("repeat_penalty")
    chat.type("\t")
    chat.prompt("/set repeat_penalty")


def test_an_editor_writes_the_message(terminal: Callable[..., Terminal], model: Path, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "from the editor" > "$1"\n')
    editor.chmod(0o755)
    chat = loaded(terminal("chat", "-m", model, VISUAL=str(editor)))
    chat.type("\x18\x05")
    assert "> from the editor\nHello, world" in chat.until("Hello, world")


@pytest.mark.parametrize(
    ("editor", "error"),
    [
        ("true", ""),
        ("rm", "No such file"),
        ("nonesuch", "cannot run the editor nonesuch"),
        ("false", "failed"),
    ],
)
def test_a_message_that_an_editor_leaves_as_it_is_stays_at_the_prompt(
    terminal: Callable[..., Terminal], model: Path, editor: str, error: str
) -> None:
    chat = loaded(terminal("chat", "-m", model, VISUAL=editor))
    chat.type("half a mess\x18\x05")
    if error:
        chat.until(error)
    chat.type("age")
    chat.prompt("half a message")
    assert "Hello" not in chat.shown


def test_a_full_context_drops_the_oldest_messages_and_says_so(chat: Terminal) -> None:
    assert re.search(r"^context 6/64|context 6/64$", chat.say("hi"), re.MULTILINE)
    assert "older tokens were dropped to make room" in chat.say("x" * 50)
    assert "the message is too long" in chat.say("x" * 90)
    assert "Hello, world" in chat.say("hi")


def test_the_fill_of_the_context_is_in_the_prompt_without_statistics(
    terminal: Callable[..., Terminal], model: Path
) -> None:
    chat = loaded(terminal("chat", "-m", model, "--no-stats"))
    chat.say("hi")
    assert chat.shown.endswith("\n6/64 >")


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "xterm"}])
def test_a_model_cannot_send_escape_sequences(
    terminal: Callable[..., Terminal], model: Path, variables: dict[str, str]
) -> None:
    chat = loaded(terminal("chat", "-m", model, "--plain", "--no-stats", **variables))
    chat.type("paint#\r")
    chat.expect("[31mred")
    assert not re.search(r"\x1b\[31m|[\x9b\x07\x7f]", chat.seen)
    assert "[31mred" in chat.until("next")


def test_an_error_in_a_turn_does_not_end_the_conversation(
    terminal: Callable[..., Terminal], model: Path
) -> None:
    chat = loaded(terminal("chat", "-m", model, "--overflow", "error"))
    assert "error: " in chat.say("x" * 90)
    assert "Hello, world" in chat.say("hi")


def test_a_context_that_is_full_is_explained(terminal: Callable[..., Terminal], model: Path) -> None:
    chat = loaded(terminal("chat", "-m", model, "--overflow", "stop"))
    shown = chat.say("go!")
    assert "the context of 64 tokens is full" in shown
    assert "/clear starts a new conversation" in shown
    shown = chat.say("x" * 90)
    assert "error: " in shown
    assert "/clear starts a new conversation" in shown


def test_a_resize_in_a_reply_draws_the_open_block_anew(
    terminal: Callable[..., Terminal], model: Path
) -> None:
    chat = loaded(terminal("chat", "-m", model, columns=60))
    chat.type("go!\r")
    chat.until("tick tick tick tick\n")
    chat.resize(100)
    chat.until("tick " * 15)
    chat.type("\x03")
    chat.until("stopped")
    chat.prompt()
    words = chat.shown.split("go!\n")[1].split("(")[0].split()
    assert set(words) == {"tick"}


def test_standard_output_in_a_pipe_gets_only_replies(
    terminal: Callable[..., Terminal], model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    code = (
        f"import os; f = os.open({str(copy)!r}, os.O_CREAT | os.O_WRONLY); os.dup2(f, 1); "
        "import sys; sys.argv = ['zig-ai', 'chat', '-m', sys.argv[1]]; from zigai_cli.main import run; run()"
    )
    chat = terminal("-c", code, model)
    loaded(chat)
    chat.say("hi")
    leave(chat)
    assert copy.read_text() == "Hello, world\n"


def test_an_error_of_loading_ends_the_program_at_the_prompt(terminal: Callable[..., Terminal]) -> None:
    chat = terminal("chat", "-m", "/absent.toy")
    assert chat.exit_code() == 1
    assert "/absent.toy: there is no such file" in chat.seen


@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("\x04", 0)])
def test_the_program_is_left_while_the_model_is_loaded(
    terminal: Callable[..., Terminal], model: Path, key: str, code: int
) -> None:
    process = terminal("chat", "-m", model, TOY_LOADS_SLOWLY="1")
    process.until("loading model.toy")
    process.type(key)
    assert process.exit_code() == code
    assert "Traceback" not in process.seen


def test_ctrl_c_while_the_model_is_loaded_discards_a_line_or_takes_a_message_back(
    terminal: Callable[..., Terminal], model: Path
) -> None:
    chat = terminal("chat", "-m", model, TOY_LOADS_SLOWLY="1")
    chat.until("loading model.toy")
    chat.type("mistake")
    chat.until("> mistake")
    chat.type("\x03")
    chat.until("Ctrl-D or /exit leaves the program")
    chat.type("go")
    chat.until("> go")
    chat.type("\r")
    time.sleep(0.1)
    chat.type("\x03")
    chat.until("the message is at the prompt again")
    chat.type("od")
    chat.until("> good")
    chat.type("\r")
    chat.until("Hello, world")


def test_a_second_message_that_was_typed_while_the_model_is_loaded_goes_below_the_first(
    terminal: Callable[..., Terminal], model: Path
) -> None:
    chat = terminal("chat", "-m", model, TOY_LOADS_SLOWLY="1")
    chat.until("loading model.toy")
    chat.type("first\r")
    time.sleep(0.1)
    chat.type("second\r")
    time.sleep(0.1)
    chat.type("\x03")
    chat.until(". second")
    assert "> first" in chat.shown
    assert "firstsecond" not in chat.shown


def test_a_message_that_is_sent_while_the_model_is_loaded_is_answered(
    terminal: Callable[..., Terminal], model: Path
) -> None:
    chat = terminal("chat", "-m", model, TOY_LOADS_SLOWLY="1")
    chat.until("loading model.toy")
    chat.type("hi\r")
    chat.until("Hello, world")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("typed", ["", "go!\r"])
def test_a_signal_ends_the_program(chat: Terminal, typed: str, number: signal.Signals) -> None:
    if typed:
        chat.type(typed)
        chat.until("tick tick")
    os.kill(chat.pid, number)
    assert chat.exit_code() == -number
    assert "Traceback" not in chat.seen


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


def test_perplexity_shows_the_result_so_far_and_ends_on_ctrl_c(
    terminal: Callable[..., Terminal], model: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("!" * 6400)  # the toy takes a hundredth of a second for each
    process = terminal("perplexity", "-m", str(model), str(text), "--window", "64")
    assert "±" in process.expect("s left")
    process.expect("window 2 of 100")
    process.type("\x03")
    assert process.exit_code() == 130
    assert "Traceback" not in process.seen


def test_history_rm_asks_first(terminal: Callable[..., Terminal], model: Path) -> None:
    chat = loaded(terminal("chat", "-m", model))
    chat.say("hi")
    chat.type("\x04")
    assert chat.exit_code() == 0
    for answer, code in (("n\n", 1), ("\x03", 130), ("y\n", 0)):
        process = terminal("history", "rm", "--all")
        process.expect("1: hi (2 messages)")
        process.expect("Delete? [y/N] ")
        process.type(answer)
        assert process.exit_code() == code
    listed = terminal("history", "list")
    listed.expect("no conversation is stored yet")
    assert listed.exit_code() == 0


def test_ctrl_z_stops_a_reply_with_the_terminal_restored_and_fg_goes_on(
    environment: dict[str, str], model: Path
) -> None:
    shell = pexpect.spawn(
        "/bin/sh",
        ["-i"],
        env=environment | {"PS1": "$ "},  # type: ignore[arg-type]
        encoding="utf-8",
        timeout=30,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        shell.expect_exact("$ ")
        shell.sendline(f"{sys.executable} -m zigai_cli chat -m {model}")
        shell.expect_exact("template: ")
        shell.send("go!\r")
        shell.expect_exact("tick tick")
        shell.send("\x1a")
        shell.expect_exact("$ ")
        shell.sendline("stty -a | grep -c ' -echo ' ; echo checked")
        shell.expect_exact("0\r\nchecked")
        shell.sendline("fg")
        shell.expect_exact("tick tick")
        shell.send("\x03")
        shell.expect_exact("stopped")
        shell.send("\x04")
        shell.expect_exact("$ ")
    finally:
        shell.close(force=True)
