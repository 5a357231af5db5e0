"""`zig-ai plugins`, and commands that plugins provide."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_runner import zig_ai

from zigai_cli.measure.installed import rows
from zigai_core.api.registry import Plugins

pytestmark = pytest.mark.usefixtures("plugins")


def test_plugins_lists_every_registry(plugins: Plugins) -> None:
    text = zig_ai("plugins").stdout
    for registry in plugins.registries():
        assert registry.group in text
        for entry in registry.entries():
            assert entry.name in text
    assert json.loads(zig_ai("plugins", "--json").stdout)["zigai.formats"][0]["name"] == "toy"


def test_plugins_marks_conflicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the fixture's own registries
    for name in ("one", "two"):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            f"[zigai.backends]\nfast = {name}:Fast\nonly-{name} = {name}:Only\n"
            f"[zigai.commands]\nchat = {name}:chat\n"
        )
    found = Plugins.installed([str(tmp_path)])
    conflicts = {
        (row["name"], row["distribution"]): row["conflict"] for row in rows(found.backends, frozenset())
    }
    assert conflicts[("fast", "one")].startswith("CONFLICT: 2 packages")
    assert conflicts[("only-one", "one")] == ""
    assert all("CONFLICT" in row["conflict"] for row in rows(found.commands, frozenset({"chat"})))


def test_a_plugin_can_provide_a_command() -> None:
    assert zig_ai("greet").stdout == "toy greets you\n"
    assert zig_ai("greet", "--name", "them").stdout == "toy greets them\n"
    assert zig_ai("greet", "--nonsense").exit_code == 2


def test_a_plugin_provides_a_command_with_commands_of_its_own() -> None:
    assert zig_ai("move", "wave").stdout == "toy waves\n"
    assert zig_ai("move", "bow", "--times", 2).stdout == "toy bows 2\n"
    assert zig_ai("move", "dance").exit_code == 2
    assert "bow" in zig_ai("move", "--help").stdout
