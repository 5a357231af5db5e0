"""The models of models.toml whose files `nox -s integration -- --real FOLDER` finds."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.wheels
with Path(__file__).with_name("models.toml").open("rb") as file:
    MODELS: list[dict[str, Any]] = tomllib.load(file)["model"]


@pytest.fixture(params=MODELS, ids=lambda model: model["name"])
def real(request: pytest.FixtureRequest) -> tuple[Path, dict[str, Any]]:
    """A model's file in the folder that --real names, and its entry in models.toml."""
    named = request.config.getoption("--real")
    folder = Path(named or "").expanduser()
    if not named or not folder.is_dir():
        pytest.fail(f"--real {named}: not a folder; name the one that holds the models")
    model = request.param
    found = sorted(folder.rglob(model["file"]))
    if not found:
        pytest.skip(
            f"no {model['file']} below {folder}; it is at https://huggingface.co/{model['repository']}"
        )
    return found[0], model


def test_the_file_is_the_published_one(real: tuple[Path, dict[str, Any]]) -> None:
    path, model = real
    if "bytes" in model:
        assert path.stat().st_size == model["bytes"]
    if "sha256" in model:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(1 << 24):
                digest.update(chunk)
        assert digest.hexdigest() == model["sha256"]


def test_it_is_served_by_the_native_backend(real: tuple[Path, dict[str, Any]], everything: Any) -> None:
    path, model = real
    about = json.loads(everything.check("zig-ai", "inspect", "--json", path))
    assert about["architecture"] == model["architecture"]
    assert about["served_by"]["chosen"] == "native"


def test_it_knows_a_capital_and_remembers_a_name(real: tuple[Path, dict[str, Any]], everything: Any) -> None:
    path, model = real
    options = ["--template", model["template"]] if "template" in model else []
    ask = ("zig-ai", "chat", "--model", path, *options, "--temperature", "0", "--max-tokens", "48")
    everything.check(*ask, "My name is Anna. Remember it.", timeout=1800)
    capital = everything.check(*ask, "--continue", "What is the capital of France?", timeout=1800)
    name = everything.check(*ask, "--continue", "What is my name?", timeout=1800)
    assert "Paris" in capital
    assert "Anna" in name
