"""`zig-ai chat` without a terminal: one message and its answer, statistics, templates, reasoning."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from command_runner import zig_ai

from zigai_cli import stats
from zigai_cli.conversation import interactive
from zigai_cli.conversation.answer import Settings
from zigai_cli.conversation.interactive import Conversation
from zigai_cli.conversation.loading import Loading, Located, Ready
from zigai_cli.conversation.notebook import Opened
from zigai_cli.failure import InputError
from zigai_cli.history.kept import Kept
from zigai_cli.history.store import Store
from zigai_cli.options import Overflow
from zigai_core.api import loading
from zigai_core.api.chat import Chat
from zigai_core.api.registry import Plugins
from zigai_core.text.chat_template import Message

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, str]]:
    """System message and last message of every conversation that is rendered."""
    found: list[tuple[str | None, str]] = []
    render = Chat._render
    monkeypatch.setattr(
        Chat,
        "_render",
        lambda self, messages: found.append((self.system, messages[-1]["content"])) or render(self, messages),
    )
    return found


@pytest.mark.parametrize(
    ("words", "piped", "message"),
    [
        ([], "hi\n\n/quit\n", "hi\n\n/quit"),
        (["what", "is", "2+2"], "", "what is 2+2"),
        (["sum it up"], "def f():\n    pass\n", "def f():\n    pass\n\nsum it up"),
        (["-"], "hi", "hi"),
    ],
)
def test_a_prompt_and_a_pipe_are_one_message(
    model: Path, sent: list[tuple[str | None, str]], words: list[str], piped: str, message: str
) -> None:
    result = zig_ai("chat", "-m", model, "--system", "be kind", *words, input=piped)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello, world\n", "")
    assert set(sent) == {("be kind", message)}


@pytest.mark.parametrize("piped", ["", "\n", "  \n\n"])
@pytest.mark.parametrize("command", ["chat", "generate"])
def test_no_prompt_and_an_empty_pipe_is_wrong_usage(model: Path, command: str, piped: str) -> None:
    result = zig_ai(command, "-m", model, input=piped)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no prompt" in result.stderr


def test_chat_with_json_prints_one_object(model: Path) -> None:
    answer = json.loads(zig_ai("chat", "-m", model, "--json", "why?", input="").stdout)
    assert (answer["answer"], answer["reasoning"]) == ("Hello, world", "hm")
    assert answer["text"] == "<think>hm</think>Hello, world"
    assert (answer["finish_reason"], answer["backend"], answer["model"]) == ("end", "toy", "toy model")


def test_chat_ends_at_a_stop_text(model: Path) -> None:
    assert zig_ai("chat", "-m", model, "hi", "--stop", " w", input="").stdout == "Hello,\n"


@pytest.mark.parametrize("command", ["chat", "generate"])
def test_a_reply_cut_by_the_context_exits_with_1(model: Path, command: str) -> None:
    result = zig_ai(command, "-m", model, "go!", input="")
    assert result.exit_code == 1
    assert result.stdout.startswith("tick tick ")
    assert "the context of 64 tokens is full" in result.stderr
    assert zig_ai(command, "-m", model, "go!", "--max-tokens", 3, input="").exit_code == 0


def test_images_are_refused(model: Path) -> None:
    result = zig_ai("chat", "-m", model, "--image", "cat.png", "what is it?", input="")
    assert result.exit_code == 2
    assert "cannot read images yet" in result.stderr


@pytest.mark.parametrize("command", ["chat", "generate"])
def test_a_model_in_the_place_of_the_prompt_gets_a_hint(model: Path, command: str) -> None:
    for words in ([model, "hi"], [model]):
        result = zig_ai(command, *words, input="")
        assert result.exit_code == 2
        assert "--model" in result.stderr
        assert "not a prompt" in result.stderr


def test_stats_are_printed_to_standard_error(model: Path) -> None:
    result = zig_ai("chat", "-m", model, "--stats", input="hi\n")
    assert result.stdout == "Hello, world\n"
    lines = result.stderr.splitlines()
    assert lines[0].startswith("toy model (toy, ")
    assert "on toy, the fastest installed backend that serves the whole model" in lines[0]
    assert "lame has no linear of F32" in lines[0]
    assert "template" in lines[1]
    assert "prefill 3 tokens" in lines[2]  # bos and two bytes
    assert "decode 3, " in lines[2]
    assert "\x1b" not in result.stderr


class Typist:
    """Takes the places of the keyboard and the prompt: types these lines, then leaves."""

    stops = 0
    is_dumb = True

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def __enter__(self) -> Typist:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def ask(self, label: str, **options: object) -> str:
        return self._lines.pop(0)

    def read(self) -> None:
        pass

    def take(self) -> str:
        return ""

    typed_ahead = take


class ToyOpener:
    """Opens one model, whatever is named."""

    def __init__(self, model: Path, plugins: Plugins) -> None:
        self._model = model
        self._plugins = plugins

    def choose(self, name: str | None) -> Located:
        return Located(self._model, name)

    def open(self, located: Located, progress: object) -> Ready:
        loaded = loading.load(located.path, plugins=self._plugins)
        return Ready(loaded.chat(), loaded.tokenizer, loaded.sampling, "the model", name=located.name)


def test_an_interrupt_just_after_a_reply_does_not_end_the_chat(
    model: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    presses = [KeyboardInterrupt()]

    def line(reply: object) -> str:
        if presses:
            raise presses.pop()
        return "statistics"

    typist = Typist(["hi", "hi", "/quit"])
    monkeypatch.setattr(stats, "line", line)
    monkeypatch.setattr(interactive, "Keyboard", lambda screen: typist)
    monkeypatch.setattr(interactive, "screen", lambda: sys.stdout)
    monkeypatch.setattr(Conversation, "_new_prompt", lambda self: typist)
    opener = ToyOpener(model, plugins)
    Conversation(Loading(opener), opener, Settings()).run()
    out = capsys.readouterr().out
    assert out.count("Hello, world") == 2
    assert "Ctrl-D or /exit leaves the program" in out


class Shelf:
    """A notebook in memory with one stored conversation, `old`."""

    dropped = 0

    def __init__(self) -> None:
        self.kept: list[tuple[list[Message], str | None]] = []
        self.name = ""

    def keep(self, messages: Sequence[Message], system: str | None) -> None:
        self.kept.append((list(messages), system))

    def describe(self, model: str | None, name: str, settings: Mapping[str, Any]) -> None:
        pass

    def leave(self) -> None:
        pass

    def count(self, counts: Mapping[str, Any]) -> None:
        pass

    def rename(self, name: str) -> None:
        self.name = name

    def open(self, name_or_id: str) -> Opened:
        if name_or_id != "old":
            raise InputError(f"there is no conversation {name_or_id}")
        said: list[Message] = [
            {"role": "user", "content": "earlier"},
            {"role": "assistant", "content": "reply"},
        ]
        return Opened(1, "old", said, "be kind", "other.toy", "another", "unanswered")

    def names(self) -> list[str]:
        return ["old"]


def test_each_turn_is_kept_and_a_stored_conversation_is_opened(
    model: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = Shelf()
    typist = Typist(["hi", "/undo", "/load absent", "/load old", "/save my name", "more", "/quit"])
    monkeypatch.setattr(interactive, "Keyboard", lambda screen: typist)
    monkeypatch.setattr(interactive, "screen", lambda: sys.stdout)
    monkeypatch.setattr(Conversation, "_new_prompt", lambda self: typist)
    opener = ToyOpener(model, plugins)
    Conversation(Loading(opener), opener, Settings(), kept=shelf).run()
    out = capsys.readouterr().out
    assert "error: there is no conversation absent" in out
    assert "> earlier\n  reply\nit was held with another; /model other.toy goes on with it\n" in out
    assert "its last message got no reply; it is at the prompt" in out
    assert shelf.name == "my name"
    assert [len(messages) for messages, _ in shelf.kept] == [1, 2, 0, 2, 3, 4]
    assert shelf.kept[-1][1] == "be kind"


def test_an_edit_that_is_refused_leaves_the_stored_conversation_as_it_was(
    model: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = Shelf()
    typist = Typist(["hi", "/edit", "x" * 90, "/quit"])
    monkeypatch.setattr(interactive, "Keyboard", lambda screen: typist)
    monkeypatch.setattr(interactive, "screen", lambda: sys.stdout)
    monkeypatch.setattr(Conversation, "_new_prompt", lambda self: typist)
    opener = ToyOpener(model, plugins)
    Conversation(Loading(opener), opener, Settings(overflow=Overflow.ERROR), kept=shelf).run()
    assert "error: " in capsys.readouterr().out
    assert [message["content"] for message in shelf.kept[-1][0]] == ["hi", "Hello, world"]


def test_a_chat_that_drops_its_oldest_turns_keeps_them_in_the_store(
    model: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    typist = Typist([*["hi"] * 12, "/edit", "ho", "/quit"])
    monkeypatch.setattr(interactive, "Keyboard", lambda screen: typist)
    monkeypatch.setattr(interactive, "screen", lambda: sys.stdout)
    monkeypatch.setattr(Conversation, "_new_prompt", lambda self: typist)
    opener = ToyOpener(model, plugins)
    with Store(tmp_path / "history.sqlite") as store:
        kept = Kept(store)
        Conversation(Loading(opener), opener, Settings(overflow=Overflow.SHIFT), kept=kept).run()
        assert kept.dropped >= 2, "the context must have been full"
        said = [message["content"] for message in store.find("last").messages]
        assert said == ["hi", "Hello, world"] * 11 + ["ho", "Hello, world"]


def test_reasoning_is_hidden_in_a_pipe_by_default(model: Path) -> None:
    assert zig_ai("chat", "-m", model, input="why?\n").stdout == "Hello, world\n"
    shown = zig_ai("chat", "-m", model, "--reasoning", "show", input="why?\n").stdout
    assert shown == "<think>hm</think>Hello, world\n"
    apart = zig_ai("chat", "-m", model, "--reasoning", "dim", input="why?\n").stdout
    assert apart == "hm\n\nHello, world\n"


def test_a_reply_of_hidden_reasoning_only_is_reported(model: Path) -> None:
    result = zig_ai("chat", "-m", model, "--max-tokens", 2, input="why?\n")
    assert result.stdout == ""
    assert "(stopped after 2 tokens, the limit of --max-tokens)\n" in result.stderr
    assert "(the reply is only reasoning, which is hidden; --reasoning show prints it)\n" in result.stderr


def test_template_keywords_reach_the_template(make_model: Callable[..., Path]) -> None:
    path = make_model(template="{{ messages[-1].content }}{{ mood }}{% if not loud %}*{% endif %}")
    options = ["--template-keyword", "loud=false", "--template-keyword", "mood=calm"]
    assert zig_ai("chat", "-m", path, *options, input="hi\n").stdout == "☃\n"
    wrong = zig_ai("chat", "-m", path, "--template-keyword", "moody=calm", input="hi\n")
    assert wrong.exit_code == 1
    assert "has no variable 'moody'; its variables: loud, mood" in wrong.stderr


def test_chat_without_a_template_says_what_to_type(make_model: Callable[..., Path]) -> None:
    path = make_model(template=None)
    result = zig_ai("chat", "-m", path, input="hi\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert f"{path}: holds no chat template" in result.stderr
    assert (
        "with zig-ai generate, or name its template with --template: a registered one (toy" in result.stderr
    )
    assert zig_ai("chat", "-m", path, "hi", "--template", "toy").exit_code == 0
    assert zig_ai("generate", "-m", path, "hi").exit_code == 0


def test_chat_takes_a_template_by_name_or_from_a_file(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_model(template=None)
    assert zig_ai("chat", "-m", path, "--template", "toy", input="hi*\n").stdout == "☃\n"
    file = tmp_path / "own.jinja"
    file.write_text("{{ messages[-1].content }}*")
    result = zig_ai("chat", "-m", path, "--template", file, "--stats", input="hi\n")
    assert result.stdout == "☃\n"
    assert "own.jinja" in result.stderr


@pytest.mark.parametrize("content", [b"{% for %}", b"\xff\xfe", None])
def test_an_unusable_template_is_a_one_line_error(model: Path, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "own.jinja"
    if content is not None:
        file.write_bytes(content)
    result = zig_ai("chat", "-m", model, "--template", file, input="hi\n")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "own.jinja" in result.stderr


def test_a_template_file_that_is_irregular_or_too_large_is_a_one_line_error(
    model: Path, tmp_path: Path
) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large.jinja"
    os.mkfifo(pipe)
    large.write_bytes(b"a" * 400_001)
    for file, what in (
        ("/dev/zero", "not a regular file"),
        (pipe, "not a regular file"),
        (tmp_path, "not a regular file"),
        (large, "larger than 400000 bytes"),
    ):
        result = zig_ai("chat", "-m", model, "--template", file, input="hi\n")
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        assert f"--template {file}: {what}" in result.stderr
