"""`zig-ai completion`, and what a shell offers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_runner import zig_ai

from zigai_cli import suggestions
from zigai_cli.app import COMMANDS


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("ZDOTDIR", raising=False)
    monkeypatch.setenv("SHELL", "/usr/bin/bash")
    return tmp_path


@pytest.mark.parametrize(
    ("shell", "script", "settings"),
    [
        ("bash", ".bash_completions/zig-ai.sh", ".bashrc"),
        ("zsh", ".zfunc/_zig-ai", ".zshrc"),
        ("fish", ".config/fish/completions/zig-ai.fish", None),
    ],
)
def test_install_adds_a_line_once_and_keeps_the_rest(
    user: Path, shell: str, script: str, settings: str | None
) -> None:
    if settings:
        (user / settings).write_text("alias x=y")
    for _ in range(2):
        assert zig_ai("completion", "install", shell).exit_code == 0
    text = (user / script).read_text()
    assert "_ZIG_AI_COMPLETE" in text
    assert text == zig_ai("completion", "show", shell).stdout
    if settings:
        lines = (user / settings).read_text().splitlines()
        assert lines[0] == "alias x=y"
        assert len(lines) == 2
    zig_ai("completion", "remove", shell)
    assert not (user / script).exists()


def test_the_shell_is_that_of_the_user_or_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "complete -o default -F" in zig_ai("completion", "show").stdout
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    result = zig_ai("completion", "show")
    assert result.exit_code == 1
    assert "no completion for tcsh: name one of bash, zsh, fish" in result.stderr


def test_bash_completes_commands_models_and_values(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, model: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.gguf").touch()
    (tmp_path / "models" / "notes.txt").touch()

    def complete(*words: str) -> list[str]:
        request: dict[str, Any] = {
            "_ZIG_AI_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["zig-ai", *words]),
            "COMP_CWORD": str(len(words)),
        }
        process = start(env=request)
        out, err = process.communicate(timeout=60)
        assert err == ""
        return out.split()

    assert complete("comp") == ["compare", "completion"]
    folder = f"{tmp_path}{os.sep}models{os.sep}"
    assert complete("chat", "--model", folder) == [f"{folder}tiny.gguf"]
    assert complete("inspect", folder + "t") == [f"{folder}tiny.gguf"]
    assert complete("chat", "--backend", "t") == ["toy"]
    assert complete("chat", "--kv-dtype", "Q") == ["Q8_0"]
    assert "chat.temperature" in complete("config", "set", "chat.tem")
    assert complete("history", "show", "") == []
    assert start("chat", "-m", model, "hello", stdin=subprocess.DEVNULL).wait(60) == 0
    assert complete("history", "show", "") == ["1"]


def test_folders_are_left_to_the_shell(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()
    assert suggestions.models(f"{tmp_path}{os.sep}") == [f"{tmp_path}{os.sep}a.gguf"]
    (tmp_path / "folder").mkdir()
    assert suggestions.models(f"{tmp_path}{os.sep}") == []
    assert suggestions.models(f"{tmp_path}{os.sep}a") == [f"{tmp_path}{os.sep}a.gguf"]
    assert suggestions.models("/no/such/folder/") == []


@pytest.mark.usefixtures("plugins")
def test_names_of_models_are_offered_beside_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert suggestions.models("t") == ["tiny"]
    (tmp_path / "things").mkdir()
    assert suggestions.models("t") == ["tiny", f"things{os.sep}"]
    assert suggestions.models("th") == []


@pytest.mark.usefixtures("plugins")
def test_help_lists_every_command_under_a_heading() -> None:
    text = zig_ai("--help").stdout
    places = [text.index(f"\n{heading}:") for heading in COMMANDS]
    assert places == sorted(places)
    for names in COMMANDS.values():
        for name in names:
            assert f"\n  {name} " in text


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("command", [[], ["history"], ["config"], ["new"]])
def test_no_summary_in_help_is_cut_at_80_columns(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = zig_ai(*command, "--help").stdout.splitlines()
    assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage:")]
