"""`zig-ai doctor`: what it shows, and what it calls broken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from command_runner import zig_ai
from toy_plugin import ToyBackend

from zigai_cli.measure import bandwidth, checkup
from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import UnsupportedError

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.fixture(autouse=True)
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "STREAM", 1 << 20)
    monkeypatch.setattr(bandwidth, "SECONDS", 0.0)


class Described(ToyBackend):
    def machine(self) -> Mapping[str, str]:
        return {"instruction set": "abacus"}


class Unusable(ToyBackend):
    def machine(self) -> Mapping[str, str]:
        raise UnsupportedError("BEADS=9: not one of 1, 2")


def checks() -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(zig_ai("doctor", "--json").stdout)
    return answer


def test_a_sound_installation_has_no_error(plugins: Plugins, home: Path) -> None:
    plugins.backends._given["toy"] = Described
    answer = checks()
    assert answer["ok"]
    found = {(check["group"], check["name"]): check for check in answer["checks"]}
    assert found["backends", "toy"]["text"] == "instruction set: abacus"
    assert "GB/s" in found["machine", "memory bandwidth"]["text"]
    assert found["folders", "settings"]["text"] == str(home / "config")
    assert found["environment", "ZIGAI_HOME"]["status"] == "ok"
    assert found["packages", "typer"]["text"]
    result = zig_ai("doctor")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "everything works"


def test_a_package_of_ours_that_another_needs_and_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = {"zigai-cli": ["zigai-core", "zigai-lost", 'zigai-extra; extra == "more"']}
    monkeypatch.setattr(checkup.metadata, "requires", lambda name: needed.get(name))
    answer = checks()
    missing = {check["name"]: check["text"] for check in answer["checks"] if check["status"] == "error"}
    assert missing == {"zigai-lost": "MISSING: pip install --upgrade zigai"}
    assert not answer["ok"]


def test_a_backend_that_cannot_be_used_here_is_an_error(plugins: Plugins) -> None:
    plugins.backends._given["toy"] = Unusable
    result = zig_ai("doctor")
    assert result.exit_code == 1
    assert "ERROR: BEADS=9: not one of 1, 2" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 error, listed above"


def test_missing_plugins_and_conflicts_are_errors(plugins: Plugins) -> None:
    plugins.formats._given.clear()
    plugins.commands._given["chat"] = print
    errors = [check for check in checks()["checks"] if check["status"] == "error"]
    assert [check["name"] for check in errors] == ["zigai.formats", "zigai.commands chat"]
    assert "no model file can be read" in errors[0]["text"]
    assert "CONFLICT" in errors[1]["text"]


def test_a_folder_that_cannot_be_used_and_an_unknown_variable_are_warnings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZIGAI_PACKED_CACHE", str(tmp_path / "file" / "packed"))
    monkeypatch.setenv("ZIGAI_CPUS", "x")
    monkeypatch.setenv("ZIGAI_LLAMA_CPP", "x")  # for tests of architectures
    answer = checks()
    assert answer["ok"]
    warnings = {check["name"]: check["text"] for check in answer["checks"] if check["status"] == "warning"}
    assert "is not a folder" in warnings["packed weights"]
    assert "did you mean ZIGAI_CPU?" in warnings["ZIGAI_CPUS"]
    assert "ZIGAI_LLAMA_CPP" not in {check["name"] for check in answer["checks"]}


def test_a_package_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup.metadata, "requires", lambda name: ["no-such-package>=1", "x; extra == 'y'"])
    found = [check for check in checks()["checks"] if check["status"] == "error"]
    assert [check["name"] for check in found] == ["no-such-package"]
