"""`zig-ai pull`, `list`, `show`, `rm`, and names wherever a model is named."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runner import zig_ai

from zigai_core.api.registry import Plugins

pytestmark = pytest.mark.usefixtures("plugins")


def test_a_model_is_pulled_listed_shown_used_and_removed(home: Path) -> None:
    pulled = zig_ai("pull", "tiny")
    assert (pulled.exit_code, pulled.stdout) == (0, f"{home / 'one.toy'}\n")
    assert "one.toy: 10 MB of 10 MB" in pulled.stderr
    listed = zig_ai("list").stdout
    assert str(home / "one.toy") in listed
    assert "unfinished: zig-ai pull resumes it" in listed
    rows = json.loads(zig_ai("list", "--json").stdout)
    assert [(row["name"], row["complete"]) for row in rows] == [("toy:one", True), ("toy:half", False)]
    shown = zig_ai("show", "tiny").stdout
    assert "tiny (toy:one)" in shown
    assert "MIT" in shown
    assert json.loads(zig_ai("show", "toy:one", "--json").stdout)["architecture"] == "toy"
    assert zig_ai("generate", "-m", "tiny", "hi").stdout == "Hello, world\n"
    assert zig_ai("inspect", "toy:one").exit_code == 0
    assert "standard input is no terminal" in zig_ai("rm", "tiny").stderr
    removed = zig_ai("rm", "tiny", "--yes")
    assert (removed.exit_code, removed.stdout) == (0, "deleted tiny: 23B freed\n")
    assert zig_ai("rm", "tiny", "--yes").exit_code == 1


def test_a_name_is_downloaded_when_it_is_used(home: Path) -> None:
    done = zig_ai("generate", "-m", "toy:one", "hi")
    assert done.stdout == "Hello, world\n"
    assert "one.toy: 0B of 10 MB" in done.stderr


def test_list_available_shows_size_and_licence() -> None:
    assert zig_ai("list", "--available").stdout.split("\n")[1].split() == [
        *("tiny", "12", "MB", "MIT", "a", "tiny", "toy", "toy:one")
    ]
    assert json.loads(zig_ai("list", "--available", "--json").stdout)[0]["bytes"] == 12_000_000


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (["pull", "toy:none"], "toy:none: the toy hub has no such model"),
        (["pull", "absent.gguf"], "absent.gguf: there is no such file or folder, and it is not a name"),
        (["show", "toy:one"], "toy:one: not on this machine: download it with: zig-ai pull toy:one"),
        (["rm", "model.toy", "--yes"], "is a path, not the name of a downloaded model"),
        (["rm", "toy:one"], "toy:one: is not on this machine"),
        (["show", "tiny"], "tiny: not on this machine: download it with: zig-ai pull tiny"),
        (["generate", "-m", "no:such", "hi"], "no installed package serves the model source 'no'"),
        (["inspect", "tin.y"], "did you mean tiny?"),
    ],
)
def test_a_name_that_cannot_be_used_is_one_line(command: list[str], error: str) -> None:
    done = zig_ai(*command)
    assert done.exit_code == 1
    assert error in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_source_the_error_says_what_to_install(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Plugins(formats=plugins.formats)
    monkeypatch.setattr(Plugins, "installed", classmethod(lambda cls, path=None: bare))
    assert "no installed package knows models by name: pip install --upgrade zigai" in zig_ai("list").stderr


def test_an_interrupted_pull_exits_with_130(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("pull", "toy:slow")
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
