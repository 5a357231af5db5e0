"""Toy plugins for the tests: registered directly in this process, an installed distribution in others."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zigai_core.api.registry import Plugins
from zigai_core.contracts.plugins import BundledModel

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import toy_plugin  # noqa: E402 - found through the path above

ENTRY_POINTS = """\
[zigai.formats]
toy = toy_plugin:ToyFormat
[zigai.architectures]
toy = toy_plugin:toy_architecture
[zigai.tokenizers]
toy = toy_plugin:TOKENIZER
[zigai.backends]
toy = toy_plugin:ToyBackend
[zigai.chat_templates]
toy = toy_plugin:TEMPLATE
[zigai.sources]
toy = toy_plugin:ToySource
alias = toy_plugin:ToyAliases
[zigai.commands]
greet = toy_plugin:toy_command
absent = no_such_module:command
chat = toy_plugin:broken_command
"""


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plugins:
    """Replace the installed plugins of this process by the toys."""
    default = tmp_path / "bundled.toy"
    default.write_text('TOY1\n{"name": "bundled"}')
    toys = Plugins(
        formats={"toy": toy_plugin.ToyFormat},
        architectures={
            "toy": toy_plugin.toy_architecture,
            "toy-reranker": toy_plugin.toy_reranker,
            "toy-encoder": toy_plugin.toy_encoder,
        },
        tokenizers={"toy": toy_plugin.TOKENIZER},
        backends={"toy": toy_plugin.ToyBackend, "lame": toy_plugin.LameBackend},
        chat_templates={"toy": toy_plugin.TEMPLATE},
        commands={"greet": toy_plugin.toy_command, "move": toy_plugin.toy_group},
        sources={"toy": toy_plugin.ToySource, "alias": toy_plugin.ToyAliases},
        models={"default": lambda: BundledModel(default, "a toy that says hello")},
    )
    monkeypatch.setattr(Plugins, "installed", classmethod(lambda cls, path=None: toys))
    return toys


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Write a toy model's file. Keyword arguments are its content; see `toy_plugin.ToyFormat`."""

    def make(file: str = "model.toy", **content: Any) -> Path:
        path = tmp_path / file
        path.write_text("TOY1\n" + json.dumps(content), encoding="utf-8")
        return path

    return make


@pytest.fixture
def model(make_model: Callable[..., Path]) -> Path:
    return make_model()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toys as an installed distribution."""
    site = tmp_path_factory.mktemp("site")
    shutil.copy(HERE / "toy_plugin.py", site)
    info = site / "zigai_toy-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zigai-toy\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return site


@pytest.fixture
def environment(site: Path, home: Path) -> dict[str, str]:
    """Environment variables with which another process finds the toys, and the folder of the user."""
    removed = ("ZIGAI", "NO_COLOR", "PYTHON")  # PYTHONUNBUFFERED, for example, would hide a missing flush
    kept = {key: value for key, value in os.environ.items() if not key.startswith(removed)}
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1", "TERM": "xterm"}
    return kept | own | {"ZIGAI_HOME": str(home)}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of the user of its own for each test, in this process."""
    folder = tmp_path / "home"
    monkeypatch.setenv("ZIGAI_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow colours in this process, whatever the environment of the tests says."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `zig-ai` with these arguments. Processes that still run after the test are killed."""
    started: list[subprocess.Popen[str]] = []
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)

    def run(*arguments: object, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "zigai_cli", *map(str, arguments)],
            env=environment | options.pop("env", {}),
            text=True,
            encoding="utf-8",
            **(streams | {"preexec_fn": _allow_interrupts} | options),
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # the last input may still be buffered
                    stream.close()


def _allow_interrupts() -> None:
    """Reset SIGINT to its default: a test runner in the background would pass on that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def zig_ai(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `zig-ai` as a process and wait for its end."""

    def run(*arguments: object, input: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
        process = start(*arguments, **options)
        out, err = process.communicate(input, timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return run
