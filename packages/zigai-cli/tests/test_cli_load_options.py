"""Options for loading a model, on the command line and in `inspect`; warnings and plugins that fail."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_plugin
from command_runner import zig_ai

from zigai_cli.load_options import flag
from zigai_core.api import loading
from zigai_core.api.registry import Plugins
from zigai_core.contracts.load_options import FOR_SERVERS, LoadOptions

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("command", ["generate", "chat", "bench", "inspect"])
def test_every_field_of_load_options_is_an_option_of_every_command_that_loads(command: str) -> None:
    text = " ".join(zig_ai(command, "--help").stdout.split())
    for field in LoadOptions.fields():
        if field.name in FOR_SERVERS:
            assert field.metadata["help"] not in text
        elif (command, field.name) != ("bench", "context"):
            assert f"{flag(field.name)} {field.metadata['metavar']} {field.metadata['help']}" in text
            assert f"[default: ({field.metadata['shown']})]" in text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--threads", "0"], "threads must be a whole number of at least 1, not 0"),
        (["--context", "-5"], "context must be a whole number of at least 1, not -5"),
        (["--unread", "ignore"], "unread must be one of error, warn, not 'ignore'"),
        (["--backend-option", "nonsense"], "--backend-option nonsense: give NAME=VALUE"),
    ],
)
def test_a_value_out_of_range_is_wrong_usage(model: Path, given: list[str], words: str) -> None:
    result = zig_ai("generate", "-m", model, "x", *given)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())


def test_inspect_describes_the_program_that_loading_compiles(plugins: Plugins, model: Path) -> None:
    loaded = loading.load(model, plugins=plugins, context=24)
    report = json.loads(zig_ai("inspect", model, "--kernels", "--context", 24, "--json").stdout)["kernels"]
    assert (report["context"], report["kv_dtype"]) == (24, "F32")
    assert (loaded.options.context, loaded.options.kv_dtype) == (24, "F32")
    assert report["choice"] == loaded.choice


def test_inspect_refuses_what_loading_refuses(plugins: Plugins, model: Path) -> None:
    result = zig_ai("inspect", model, "--kernels", "--context", 65)
    assert result.exit_code == 1
    assert "a context of 65 tokens: toy model was trained for 1 to 64" in result.stderr
    assert zig_ai("inspect", model, "--kernels", "--kv-dtype", "Q3").exit_code == 1


@pytest.mark.parametrize("given", [["--backend", "toy"], ["--threads", "2"], ["--kv-dtype", "F16"]])
def test_inspect_refuses_options_that_would_have_no_effect(
    plugins: Plugins, model: Path, given: list[str]
) -> None:
    result = zig_ai("inspect", model, *given)
    assert result.exit_code == 2
    assert f"{given[0]} has no effect without --kernels" in " ".join(result.stderr.split())


def special_file(tmp_path: Path, kind: str) -> Path:
    if kind == "device":
        return Path("/dev/zero")
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    return path


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_no_command_opens_a_special_file(zig_ai: Run, model: Path, tmp_path: Path, kind: str) -> None:
    path = special_file(tmp_path, kind)
    for command in (
        ["generate", "-m", path, "x"],
        ["generate", "-m", model, "--draft", path, "x"],
        ["bench", path],
        ["inspect", path],
        ["tokenize", "-m", path, "x"],
    ):
        result = zig_ai(*command)
        assert result.returncode == 1, command
        assert result.stderr == f"zig-ai: {path}: is a {kind}: name a model's file or folder\n"


def test_plugins_that_fail_are_reported_and_stop_no_command(
    zig_ai: Run, environment: dict[str, str], model: Path, tmp_path: Path
) -> None:
    (tmp_path / "raising_plugin.py").write_text(
        "class Raising:\n    def __init__(self): raise RuntimeError('never\\x1b[31m')\n"
        "class Odd:\n    def recognises(self, path): raise KeyError('odd')\n"
    )
    info = tmp_path / "raising-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: raising\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "".join(
            f"[zigai.{group}]\nabsent-{group} = no_such_module:x\nraising-{group} = raising_plugin:Raising\n"
            for group in ("formats", "backends", "samplers", "chat_templates", "commands", "models")
        ).replace("[zigai.formats]", "[zigai.formats]\nodd = raising_plugin:Odd")
    )
    env = {"PYTHONPATH": os.pathsep.join([environment["PYTHONPATH"], str(tmp_path)])}
    result = zig_ai("generate", "-m", model, "x", env=env)
    assert (result.returncode, result.stdout) == (0, "Hello, world\n")
    warnings = result.stderr.splitlines()
    for name in ("'absent-formats'", "'raising-formats'", "'odd'", "'absent-backends'", "'raising-backends'"):
        assert sum(name in line for line in warnings) == 1, name
    assert all(line.startswith("zig-ai: passed over: ") for line in warnings)
    assert "\x1b" not in result.stderr
    listed = zig_ai("plugins", env=env)
    assert listed.returncode == 0
    assert "FAILS: the file format 'absent-formats'" in listed.stdout
    assert "RuntimeError: never" in listed.stdout
    named = zig_ai("generate", "-m", model, "x", "--backend", "raising-backends", env=env)
    assert named.returncode == 1
    assert "the backend 'raising-backends' failed: RuntimeError: never" in named.stderr


def test_a_warning_names_a_faster_backend_that_cannot_serve_the_model(
    zig_ai: Run, environment: dict[str, str], model: Path, tmp_path: Path
) -> None:
    info = tmp_path / "lame-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lame\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[zigai.backends]\nlame = toy_plugin:LameBackend\n")
    env = {"PYTHONPATH": os.pathsep.join([environment["PYTHONPATH"], str(tmp_path)])}
    result = zig_ai("generate", "-m", model, "x", "--kv-dtype", "F16", env=env)
    assert result.stdout == "Hello, world\n"
    assert result.stderr.splitlines() == [
        "zig-ai: toy model runs on toy, which is slower: lame has no linear of F32",
        "zig-ai: the backend toy does not use kv_dtype=F16: it keeps no keys",
    ]


def test_an_unread_hyperparameter_is_an_error_or_with_unread_warn_a_warning(
    monkeypatch: pytest.MonkeyPatch, plugins: Plugins, model: Path
) -> None:
    decoder = toy_plugin.toy_decoder
    monkeypatch.setattr(
        toy_plugin,
        "toy_decoder",
        lambda *given, **more: decoder(*given, **more, final_logit_softcapping=30.0),
    )
    refused = zig_ai("generate", "-m", model, "x")
    assert refused.exit_code == 1
    assert "hyperparameters final_logit_softcapping=30.0" in refused.stderr
    assert "--unread warn" in refused.stderr
    assert zig_ai("generate", "-m", model, "x", "--unread", "warn").stdout == "Hello, world\n"
    assert "final_logit_softcapping" in zig_ai("inspect", model).stdout
    assert "CANNOT be built" in zig_ai("inspect", model).stdout
    assert "CANNOT be built" not in zig_ai("inspect", model, "--unread", "warn").stdout
