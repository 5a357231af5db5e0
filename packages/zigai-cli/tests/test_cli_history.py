"""`zig-ai history`, and what of it `zig-ai chat` writes and continues."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_runner import zig_ai

from zigai_cli.history import opening
from zigai_cli.history.kept import Kept
from zigai_cli.history.store import Store
from zigai_cli.history.stored import About

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.fixture
def held(model: Path) -> Path:
    """A model with which one conversation was held."""
    assert zig_ai("chat", "-m", model, "--system", "be kind", input="why?\n").exit_code == 0
    return model


def record(*arguments: object) -> Any:
    return json.loads(zig_ai("history", *arguments, "--json").stdout)


def test_a_chat_is_stored_with_its_model_settings_and_counts(model: Path) -> None:
    zig_ai("chat", "-m", model, "--system", "be kind", "--top-k", 3, "--max-tokens", 9, input="why?\n")
    stored = record("show")
    assert (stored["id"], stored["title"], stored["model"]) == (1, "why?", str(model))
    assert (stored["model_name"], stored["system"]) == ("toy model", "be kind")
    assert stored["settings"] == {"top_k": 3, "max_tokens": 9}
    asked, replied = stored["messages"]
    assert asked == {"role": "user", "content": "why?"}
    assert (replied["content"], replied["reasoning_content"]) == ("Hello, world", "hm")
    assert replied["counts"]["generated_tokens"] == 6


def test_no_history_stores_nothing(held: Path) -> None:
    zig_ai("chat", "-m", held, "--no-history", input="hi\n")
    zig_ai("chat", "--continue", "--no-history", input="hi\n")
    assert [(entry["id"], entry["message_count"]) for entry in record("list")] == [(1, 2)]


def test_a_chat_without_a_message_is_not_stored(model: Path) -> None:
    assert zig_ai("chat", "-m", model, input="\n").exit_code == 2
    assert record("list") == []


def test_continue_restores_messages_system_and_model(held: Path, make_model: Callable[..., Path]) -> None:
    other = make_model("other.toy", name="other")
    zig_ai("chat", "-m", other, input="hi\n")
    assert zig_ai("chat", "--id", "why?", input="more*\n").stdout == "☃\n"
    stored = record("show")
    assert (stored["id"], stored["model"], stored["system"]) == (1, str(held), "be kind")
    assert [message["content"] for message in stored["messages"]] == ["why?", "Hello, world", "more*", "☃"]
    zig_ai("chat", "-c", "-m", other, "--system", "be brief", input="hi\n")
    stored = record("show", 1)
    assert (stored["model_name"], stored["system"], stored["message_count"]) == ("other", "be brief", 6)


def test_a_number_after_continue_is_no_message(held: Path) -> None:
    result = zig_ai("chat", "--continue", "1")
    assert result.exit_code == 2
    assert "--id 1" in result.stderr
    assert record("show")["message_count"] == 2


@pytest.mark.parametrize(
    ("option", "message"),
    [(["--continue"], "no conversation is stored yet"), (["--id", "7"], "no conversation is stored yet")],
)
def test_continuing_what_is_not_there_is_an_error(model: Path, option: list[str], message: str) -> None:
    result = zig_ai("chat", "-m", model, *option, input="hi\n")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert message in result.stderr
    assert not opening.path().exists()
    assert zig_ai("chat", "-m", model, input="hi\n").exit_code == 0
    assert "no stored conversation '7'" in zig_ai("chat", "-m", model, "--id", "7", input="hi\n").stderr


def test_a_store_that_cannot_be_used_is_one_warning_and_the_chat_goes_on(
    zig_ai: Callable[..., subprocess.CompletedProcess[str]], model: Path, tmp_path: Path
) -> None:
    data = tmp_path / "broken" / "data"
    data.mkdir(parents=True)
    (data / opening.FILE).write_text("not a database " * 100)
    broken = {"ZIGAI_HOME": str(tmp_path / "broken")}
    result = zig_ai("chat", "-m", model, input="hi\n", env=broken)
    assert (result.returncode, result.stdout) == (0, "Hello, world\n")
    assert result.stderr.count("\n") == 1
    assert "history.sqlite: the file is damaged" in result.stderr
    assert "the conversation is not stored" in result.stderr
    for arguments in (
        ["history", "list"],
        ["history", "rm", "--all", "--yes"],
        ["chat", "-m", model, "-c", "hi"],
    ):
        result = zig_ai(*arguments, env=broken)
        assert (result.returncode, result.stderr.count("\n")) == (1, 1)
        assert "history.sqlite: the file is damaged" in result.stderr


def test_a_chat_that_is_killed_in_a_reply_loses_the_reply_only(
    start: Callable[..., subprocess.Popen[str]],
    zig_ai: Callable[..., subprocess.CompletedProcess[str]],
    model: Path,
    tmp_path: Path,
) -> None:
    home = {"ZIGAI_HOME": str(tmp_path / "killed")}
    assert zig_ai("chat", "-m", model, "hi", env=home).returncode == 0
    process = start("chat", "-c", "--overflow", "shift", "go!", env=home, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    while "tick" not in process.stdout.read(20):
        pass
    process.kill()
    process.wait()
    shown = json.loads(zig_ai("history", "show", "--json", env=home).stdout)
    assert [message["content"] for message in shown["messages"]] == ["hi", "Hello, world", "go!"]
    assert zig_ai("chat", "-c", input="hi\n", env=home).stdout == "Hello, world\n"
    shown = json.loads(zig_ai("history", "show", "--json", env=home).stdout)
    assert [message["content"] for message in shown["messages"]] == ["hi", "Hello, world"] * 2


def test_list_shows_the_last_conversation_first(held: Path) -> None:
    zig_ai("chat", "-m", held, input="again\n")
    lines = zig_ai("history", "list").stdout.splitlines()
    assert lines[0].split() == ["id", "last", "message", "messages", "model", "title"]
    assert [line.split()[0] for line in lines[1:]] == ["2", "1"]
    assert lines[2].endswith("why?")
    limited = zig_ai("history", "list", "-n", 1)
    assert len(limited.stdout.splitlines()) == 2
    assert "--limit 0 shows all" in limited.stderr


def test_without_a_history_there_is_no_file(home: Path) -> None:
    result = zig_ai("history", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no conversation is stored yet" in result.stderr
    assert not home.exists()


def test_show_prints_messages_without_control_characters(held: Path) -> None:
    with Store(opening.path()) as store:
        Kept(store, About(descriptor="m\x1b[1m")).keep(
            [{"role": "us\x1ber", "content": "\x1b[31mred\x07"}], None
        )
    shown = zig_ai("history", "show").stdout
    assert "user:\n[31mred\n" in shown
    shown += zig_ai("history", "list").stdout + zig_ai("history", "export").stdout
    assert "\x1b" not in shown
    shown = zig_ai("history", "show", 1).stdout
    assert "system:\nbe kind\n" in shown
    assert "assistant:\nhm\n\nHello, world\n" in shown


def test_search_tells_by_its_exit_code(held: Path) -> None:
    result = zig_ai("history", "search", "WORLD")
    assert (result.exit_code, result.stdout.splitlines()[1].split()[-2:]) == (0, ["Hello,", "world"])
    result = zig_ai("history", "search", "moon")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "nothing found\n")
    assert record("search", "kind") == []


def test_rename_gives_a_title_to_continue_by(held: Path) -> None:
    assert zig_ai("history", "rename", "last", "my  talk").exit_code == 0
    assert record("show", "my talk")["id"] == 1


def test_rm_deletes_what_is_named_and_asks_at_a_terminal_only(held: Path) -> None:
    zig_ai("chat", "-m", held, input="again\n")
    refused = zig_ai("history", "rm", 1)
    assert (refused.exit_code, "--yes" in refused.stderr) == (2, True)
    assert zig_ai("history", "rm", 1, 9, "--yes").exit_code == 1
    assert len(record("list")) == 2, "nothing is deleted if one of them does not exist"
    assert zig_ai("history", "rm", 1, "why?", "-y").stderr == "deleted 1 conversation\n"
    assert [entry["id"] for entry in record("list")] == [2]
    assert zig_ai("history", "rm", "--all", "last", "-y").exit_code == 2
    assert zig_ai("history", "rm", "-y").exit_code == 2
    assert zig_ai("history", "rm", "--all", "-y").exit_code == 0
    assert record("list") == []


def test_export_writes_markdown_and_json_lines(held: Path, tmp_path: Path) -> None:
    zig_ai("chat", "-m", held, input="again\n")
    text = zig_ai("history", "export", 1).stdout
    assert text.startswith("# why?\n\n")
    assert text.endswith("## System\n\nbe kind\n\n## User\n\nwhy?\n\n## Assistant\n\n> hm\n\nHello, world\n")
    lines = zig_ai("history", "export", "--all", "-f", "jsonl").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [1, 2]
    assert json.loads(lines[0]) == record("show", 1)
    file = tmp_path / "out.jsonl"
    assert zig_ai("history", "export", 1, 2, "-o", file).exit_code == 0
    assert file.read_text().splitlines() == lines
    exists = zig_ai("history", "export", "-o", file)
    assert (exists.exit_code, "--force" in exists.stderr) == (1, True)
    assert zig_ai("history", "export", "-o", file, "--force", "-f", "markdown").exit_code == 0
    assert file.read_text().startswith("# again\n")
    assert zig_ai("history", "export", "-f", "xml").exit_code == 2


def test_an_export_of_a_lone_surrogate_is_written(tmp_path: Path) -> None:
    with Store(opening.path()) as store:
        Kept(store).keep([{"role": "user", "content": "a\ud800b"}], None)
    file = tmp_path / "out.md"
    assert zig_ai("history", "export", "-o", file).exit_code == 0
    assert "a?b" in file.read_text()
