from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `screen` and `zig_ai`
sys.path[:0] = [str(Path(__file__).with_name("example-recurrent") / part) for part in ("src", "tests")]
sys.path.insert(0, str(Path(__file__).parent / "example-sampler" / "src"))  # for its own tests

WHEELHOUSE = os.environ.get("ZIGAI_WHEELHOUSE", "")
UV = os.environ.get("ZIGAI_UV", "")
TOY_MODEL = Path(__file__).with_name("toy_model.py")


@pytest.fixture(scope="session")
def make_toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a small random model with the options of `toy_model.py`, with the packages of `python`."""

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
    parser.addoption("--real", metavar="FOLDER", help="folder with real models: test those of models.toml")


@dataclass(frozen=True)
class Environment:
    """A virtual environment for wheels. `uv` is the program that installs them; without it, pip does."""

    folder: Path
    uv: str = ""

    @property
    def scripts(self) -> Path:
        return self.folder / ("Scripts" if sys.platform == "win32" else "bin")

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that neither make the sources importable nor name the user's folder."""
        removed = ("PYTHONPATH", "PYTHONHOME", "NO_COLOR")
        kept = {k: v for k, v in os.environ.items() if k not in removed}
        return kept | {"ZIGAI_HOME": str(self.folder / "home")}

    def run(
        self, *command: str | Path, stdin: str = "", timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, in a folder outside the sources."""
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
        """Run a program that must succeed. Returns its standard output."""
        done = self.run(*command, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *distributions: str) -> None:
        options = ("--quiet", "--no-index", "--find-links", WHEELHOUSE)
        if self.uv:
            self._uv("install", *options, *distributions)
        else:
            # Compiling all installed modules would take longer than the tests.
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
    """Make environments from wheels, with uv if `nox` names it: it takes a tenth of pip's time."""

    def make(*distributions: str, uv: str = UV) -> Environment:
        assert WHEELHOUSE, "ZIGAI_WHEELHOUSE is not set: run nox -s integration"
        folder = tmp_path_factory.mktemp("environment")
        create = [uv, "venv", "--python", sys.executable] if uv else [sys.executable, "-m", "virtualenv"]
        subprocess.run([*create, "--quiet", str(folder)], check=True)
        environment = Environment(folder, uv)
        environment.install(*distributions)
        return environment

    return make


@pytest.fixture(scope="session")
def everything(new_environment: Callable[..., Environment]) -> Environment:
    """An environment after `pip install zigai`."""
    return new_environment("zigai", uv="")
