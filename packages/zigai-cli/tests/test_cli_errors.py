"""Exit codes and error texts that all commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_runner import zig_ai
from typer.testing import CliRunner

from zigai_cli.app import app

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["inspect", "x", "--model", "x"],
        ["chat", "-m", "x", "--template-keyword", "thinking"],
        ["chat", "-m", "x", "--template-keyword", "no name=1"],
        ["chat", "-m", "x", "y", "--template-keyword", "deep=" + "[" * 100_000],
        ["chat", "-m", "x", "y", "--backend-option", "deep=" + "[" * 100_000],
        ["chat", "-m", "x", "y", "--sampling", "logit_bias=" + "[" * 100_000],
        ["chat", "-m", "x", "y", "--packed-cache", ""],
        ["chat", "-m", "x", "--reasoning", "loud"],
        ["generate", "-m", "x", "y", "--nonsense"],
        ["generate", "-m", "x", "y", "--top-k", "many"],
        ["generate", "-m", "x", "y", "--top-p", "2"],
        ["chat", "-m", "x", "--seed", "-1"],
        ["chat", "-m", "x", "--threads", "0"],
        ["bench", "x", "--model", "x"],
        ["bench", "x", "--synthetic", "llama2-7b:F16"],
        ["bench", "x", "--prompt", "0", "--generate", "0"],
        ["bench", "x", "--sequences", "0"],
        ["tokenize", "-m", "x", "two", "words"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    result = zig_ai(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_a_user_error_is_one_line_and_exits_with_1(make_model: Callable[..., Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.toy"
    broken.write_text("TOY1\n{")
    cases = {
        tmp_path / "absent.toy": "absent.toy: there is no such file or folder",
        tmp_path: "a folder, and no installed format (toy) reads a folder like this one",
        broken: "not JSON: at the second line",
        make_model("a", architecture="strange"): "'strange'",
        make_model("b", tokenizer="strange"): "'strange'",
    }
    for path, words in cases.items():
        for command in (["generate", "-m", path, "x"], ["chat", "-m", path]):
            result = zig_ai(*command, input="x")
            assert (result.exit_code, result.stdout) == (1, "")
            assert result.stderr.startswith("zig-ai: ")
            assert words in result.stderr
            assert result.stderr.count("\n") == 1


def test_a_backend_that_is_not_installed_is_named(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "x", "--backend", "quantum")
    assert result.exit_code == 1
    assert "'quantum'" in result.stderr
    assert "toy" in result.stderr


def test_an_internal_error_says_that_it_is_a_bug(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = zig_ai("generate", "-m", model, "what%")
    assert result.exit_code == 1
    assert "bug: RuntimeError: the toy is broken" in result.stderr
    assert "ZIGAI_DEBUG=1" in result.stderr
    assert result.stderr.count("\n") == 1
    monkeypatch.setenv("ZIGAI_DEBUG", "1")
    result = CliRunner().invoke(app, ["generate", "-m", str(model), "what%"])
    assert "Traceback" in result.stderr


def test_text_from_a_file_reaches_the_terminal_without_escape_sequences(
    make_model: Callable[..., Path],
) -> None:
    path = make_model("evil", name="\x1b]0;owned\x07name", architecture="\x1b[2Jarch")
    for command in (["inspect", path], ["generate", "-m", path, "x"], ["chat", "-m", path]):
        output = zig_ai(*command, input="x\n").output
        assert "arch" in output
        assert not set(output) & set("\x1b\x07")


def test_input_that_is_not_utf8_is_a_user_error(model: Path) -> None:
    for command in ("generate", "chat", "tokenize"):
        result = CliRunner().invoke(app, [command, "-m", str(model)], input=b"caf\xe9\n")
        assert result.exit_code == 1
        assert "not utf-8 text" in result.stderr


def test_version_names_zig_ai_and_python() -> None:
    text = zig_ai("version").stdout
    assert text.startswith("zig-ai ")
    assert "zigai-core" in text
    assert "Python" in text
    assert zig_ai("--version").stdout == text


@pytest.mark.parametrize(
    "arguments",
    [
        ["config", "set", "model", "caf\udce9"],
        ["embed", "caf\udce9"],
        ["tokenize", "caf\udce9"],
        ["compare", "a", "b", "--prompt", "caf\udce9"],
        ["history", "search", "caf\udce9"],
        ["history", "rename", "last", "caf\udce9"],
        ["chat", "caf\udce9"],
        ["chat", "hi", "--system", "caf\udce9"],
        ["generate", "caf\udce9", "--stop", "a"],
        ["generate", "a", "--stop", "caf\udce9"],
    ],
)
def test_words_that_are_not_utf8_are_named(model: Path, arguments: list[str]) -> None:
    result = zig_ai(*arguments, *([] if arguments[0] in ("config", "history", "compare") else ["-m", model]))
    assert result.exit_code == 2
    assert "is not UTF-8 text (at character 3)" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["chat", "--id", "", "hi"], "--id"),
        (["chat", "-m", "", "hi"], "-m"),
        (["chat", "--model=", "hi"], "--model"),
        (["history", "export", "-o", ""], "-o"),
    ],
)
def test_an_option_without_a_value_is_refused(arguments: list[str], option: str) -> None:
    result = zig_ai(*arguments)
    assert result.exit_code == 2
    assert f"{option}: its value is empty" in result.stderr


def test_an_empty_text_and_words_after_two_dashes_are_values(model: Path) -> None:
    assert zig_ai("chat", "-m", model, "--system", "", "hi").exit_code == 0
    assert zig_ai("chat", "-m", model, "--", "-a", "").exit_code == 0
    assert "the name of a model is empty" in zig_ai("inspect", "").stderr
