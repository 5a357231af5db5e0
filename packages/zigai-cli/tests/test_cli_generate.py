"""`zig-ai generate`: output, exit codes and draft tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_runner import zig_ai

pytestmark = pytest.mark.usefixtures("plugins")


def test_generate_prints_the_continuation_and_nothing_else(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "a prompt")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello, world\n", "")
    assert zig_ai("generate", "-m", model, "--prompt", "a prompt").stdout == "Hello, world\n"


def test_generate_removes_one_newline_from_the_end_of_standard_input(model: Path) -> None:
    assert zig_ai("generate", "-m", model, input="why*\n").stdout == "☃\n"
    assert zig_ai("generate", "-m", model, input="why*\n\n").stdout == "Hello, world\n"


def test_generate_ends_at_a_stop_text_or_after_max_tokens(model: Path) -> None:
    assert zig_ai("generate", "-m", model, "hi", "--stop", "zzz", "--stop", " w").stdout == "Hello,\n"
    assert zig_ai("generate", "-m", model, "hi", "--max-tokens", 1).stdout == "Hello\n"


def test_generate_with_json_prints_one_object(model: Path) -> None:
    answer = json.loads(zig_ai("generate", "-m", model, "hi#", "--json").stdout)
    assert answer["text"].startswith("\x1b[31m")
    assert (answer["finish_reason"], answer["backend"], answer["model"]) == ("end", "toy", "toy model")
    assert answer["stats"]["prompt_tokens"] == 4  # bos and three bytes
    assert answer["stats"]["context"] == 64


def test_generate_reports_a_full_context(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "go!", "--overflow", "stop")
    assert result.exit_code == 1
    assert result.stdout.startswith("tick tick ")
    assert "the context of 64 tokens is full" in result.stderr
    result = zig_ai("generate", "-m", model, "x" * 80)
    assert result.stderr.startswith("zig-ai: no room for a reply: the prompt has 81 tokens, and the context ")
    assert (result.exit_code, result.stdout) == (1, "")


def test_a_full_context_is_an_error_with_overflow_error(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "go!", "--overflow", "error")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "64" in result.stderr


def test_overflow_shift_continues_and_reports_dropped_tokens(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "go!", "--overflow", "shift", "--max-tokens", 100)
    assert result.stdout.count("tick") == 100
    assert "dropped to make room" in result.stderr


def test_generate_refuses_two_prompts(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "one", "--prompt", "two")
    assert result.exit_code == 2
    assert "twice" in result.stderr


def test_generate_continues_the_pipe_and_then_the_prompt(model: Path) -> None:
    assert zig_ai("generate", "-m", model, "snow*", input="winter\n").stdout == "☃\n"
    prompted = zig_ai("generate", "-m", model, "ab", "--json", input="cd\n").stdout
    assert json.loads(prompted)["stats"]["prompt_tokens"] == 7  # bos, and cd, an empty line, ab


def test_generate_takes_one_argument(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "two", "words")
    assert result.exit_code == 2
    assert "quotation marks" in result.stderr


def draft_options(model: Path) -> list[list[object]]:
    return [["--speculate", "ngram"], ["--draft", model]]


@pytest.mark.parametrize("command", ["chat", "generate"])
def test_draft_tokens_do_not_change_the_reply(command: str, model: Path) -> None:
    own = ["go!", "--json"] if command == "generate" else []
    work = ["-m", model, "--max-tokens", 30, *own]
    plain = zig_ai(command, *work, input="go!\n").stdout
    drafted = [zig_ai(command, *work, *option, input="go!\n").stdout for option in draft_options(model)]
    if command == "chat":
        assert drafted == [plain, plain]
        return
    for answer in map(json.loads, drafted):
        assert answer["text"] == json.loads(plain)["text"]
        assert answer["stats"]["draft_accepted"] > 4


def test_two_sources_of_draft_tokens_are_wrong_usage(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "hi", "--speculate", "ngram", "--draft", model)
    assert result.exit_code == 2
