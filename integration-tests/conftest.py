from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TOY_MODEL = Path(__file__).with_name("toy_model.py")


@pytest.fixture(scope="session")
def make_toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a small random model with the options of `toy_model.py`; `python` is whose packages do it."""

    def make(*options: str, python: str | Path = sys.executable) -> Path:
        path = tmp_path_factory.mktemp("toy") / "toy.gguf"
        subprocess.run([str(python), str(TOY_MODEL), str(path), *options], check=True)
        return path

    return make


@pytest.fixture(scope="session")
def toy(make_toy: Callable[..., Path]) -> Path:
    """A small random LLaMA in float32 with a vocabulary and a chat template."""
    return make_toy()
