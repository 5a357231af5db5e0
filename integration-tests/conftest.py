from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

WHEELHOUSE = os.environ.get("ZIGAI_WHEELHOUSE", "")
UV = os.environ.get("ZIGAI_UV", "")
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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real", metavar="FOLDER", help="run the real models of models.toml that lie there")


@dataclass(frozen=True)
class Environment:
    """A virtual environment of wheels. `uv` is the program that installs them, else the environment's pip."""

    folder: Path
    uv: str = ""

    @property
    def scripts(self) -> Path:
        return self.folder / ("Scripts" if sys.platform == "win32" else "bin")

    @property
    def variables(self) -> dict[str, str]:
        """Nothing that leads around the environment, to the sources."""
        return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}

    def run(
        self, *command: str | Path, stdin: str = "", timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, outside the sources."""
        return subprocess.run(
            [str(self.scripts / command[0]), *map(str, command[1:])],
            cwd=self.folder,
            env=self.variables,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def check(self, *command: str | Path, stdin: str = "", timeout: float = 300) -> str:
        """Run a program that must succeed, and give what it writes."""
        done = self.run(*command, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *distributions: str) -> None:
        options = ("--quiet", "--no-index", "--find-links", WHEELHOUSE)
        if self.uv:
            self._uv("install", *options, *distributions)
        else:
            # Compiling everything that is installed takes longer than what is then run of it.
            self.check("python", "-m", "pip", "install", "--no-compile", *options, *distributions)

    def uninstall(self, distribution: str) -> None:
        if self.uv:
            self._uv("uninstall", "--quiet", distribution)
        else:
            self.check("python", "-m", "pip", "uninstall", "--quiet", "--yes", distribution)

    def _uv(self, verb: str, *arguments: str) -> None:
        subprocess.run(
            [self.uv, "pip", verb, "--python", str(self.scripts / "python"), *arguments], check=True
        )


@pytest.fixture(scope="session")
def new_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Environment]:
    """Makes environments of wheels, by uv where `nox` names one: in a tenth of the time that pip takes."""

    def make(*distributions: str, uv: str = UV) -> Environment:
        assert WHEELHOUSE, "ZIGAI_WHEELHOUSE names no folder: run nox -s integration"
        folder = tmp_path_factory.mktemp("environment")
        create = [uv, "venv", "--python", sys.executable] if uv else [sys.executable, "-m", "virtualenv"]
        subprocess.run([*create, "--quiet", str(folder)], check=True)
        environment = Environment(folder, uv)
        environment.install(*distributions)
        return environment

    return make


@pytest.fixture(scope="session")
def everything(new_environment: Callable[..., Environment]) -> Environment:
    """What `pip install zigai` gives."""
    return new_environment("zigai", uv="")
