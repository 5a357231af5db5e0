"""Loading for a command: the bundled model, and options that reach the backend."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_runner import zig_ai

from zigai_core.api.registry import Plugins
from zigai_core.contracts.plugins import BundledModel

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["chat"], "Hello, world\n"),
        (["generate", "hi"], "Hello, world\n"),
        (["tokenize", "hi", "--ids-only"], "1 107 108\n"),
        (["inspect"], "bundled.toy"),
    ],
)
def test_without_a_model_the_bundled_one_is_used_and_named(command: list[str], output: str) -> None:
    result = zig_ai(*command, input="hi\n")
    assert result.exit_code == 0
    assert output in result.stdout
    assert result.stderr == (
        "no model is named, so this is a toy that says hello. To name one: --model PATH.gguf\n"
    )


def test_the_note_about_a_toy_says_how_to_run_a_real_model(
    plugins: Plugins, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = BundledModel(model, "a toy", "zig-ai chat -m real")
    monkeypatch.setattr("zigai_core.api.loading.default_model", lambda: toy)
    lines = zig_ai("generate", "hi").stderr.splitlines()
    assert lines[1] == "for a real one: zig-ai chat -m real"


def test_without_a_model_and_a_bundled_one_the_error_says_what_to_do(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Plugins(formats=plugins.formats)
    monkeypatch.setattr(Plugins, "installed", classmethod(lambda cls, path=None: bare))
    result = zig_ai("chat", input="hi\n")
    assert result.exit_code == 1
    assert "no model is named, and no installed package has one: name a file" in result.stderr


def test_kv_dtype_reaches_the_backend_which_may_refuse_it(model: Path) -> None:
    assert zig_ai("generate", "-m", model, "--kv-dtype", "Q8_0", "a prompt").stdout == "Hello, world\n"
    for command in (
        ["generate", "-m", model, "a prompt"],
        ["chat", "-m", model, "a prompt"],
        ["bench", model, "--prompt", 8, "--generate", 8],
    ):
        refused = zig_ai(*command, "--kv-dtype", "Q3")
        assert refused.exit_code != 0
        assert "no keys and values as Q3" in refused.stderr


def test_packed_cache_and_backend_options_reach_the_backend(model: Path, tmp_path: Path) -> None:
    for command in (
        ["generate", "-m", model, "a prompt"],
        ["chat", "-m", model],
        ["bench", model, "--prompt", 8, "--generate", 8],
    ):
        folder = tmp_path / command[0]
        assert zig_ai(*command, "--packed-cache", folder, input="x").exit_code == 0
        assert (folder / "toy").exists()
    named = f"packed_cache={tmp_path / 'named'}"
    assert zig_ai("generate", "-m", model, "--backend-option", named, "a prompt").exit_code == 0
    assert (tmp_path / "named" / "toy").exists()
    refused = zig_ai("generate", "-m", model, "--backend", "toy", "--backend-option", "colour=red", "x")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "zig-ai: the backend toy has no setting 'colour'; its settings: packed_cache\n",
    )
