"""The wheels as a user gets them: put together, one left out, one of a stranger's added.

`nox -s integration` builds all wheels, of what they depend on too, into the folder `ZIGAI_WHEELHOUSE`. Every
environment here is made from that folder alone, with no index.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.wheels
WHEELHOUSE = os.environ.get("ZIGAI_WHEELHOUSE", "")
GREEDY = """
import sys, zigai_core.loading as loading
from zigai_core.sampling import SamplingOptions
model = loading.load(sys.argv[1], backend=sys.argv[2])
reply = model.generate([1, 300, 301], sampling=SamplingOptions(temperature=0.0), max_tokens=24)
reply.complete()
print(model.backend, *reply.tokens)
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment of wheels."""

    folder: Path

    @property
    def scripts(self) -> Path:
        return self.folder / ("Scripts" if sys.platform == "win32" else "bin")

    def run(self, *command: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, outside the sources and with no way around them."""
        return subprocess.run(
            [str(self.scripts / command[0]), *map(str, command[1:])],
            cwd=self.folder,
            env={k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def pip(self, *arguments: str) -> None:
        done = self.run("python", "-m", "pip", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def install(self, *distributions: str) -> None:
        # Compiling everything that is installed takes longer than what is then run of it.
        options = ("--quiet", "--no-compile", "--no-index", "--find-links", WHEELHOUSE)
        self.pip("install", *options, *distributions)

    def greedy(self, model: Path, backend: str = "auto") -> list[str]:
        done = self.run("python", "-c", GREEDY, model, backend)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()


@pytest.fixture(scope="module")
def new_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Environment]:
    def make(*distributions: str) -> Environment:
        assert WHEELHOUSE, "ZIGAI_WHEELHOUSE names no folder: run nox -s integration"
        folder = tmp_path_factory.mktemp("environment")
        subprocess.run([sys.executable, "-m", "virtualenv", "--quiet", str(folder)], check=True)
        environment = Environment(folder)
        environment.install(*distributions)
        return environment

    return make


@pytest.fixture(scope="module")
def everything(new_environment: Callable[..., Environment]) -> Environment:
    return new_environment("zigai")


@pytest.fixture(scope="module")
def toy(everything: Environment, make_toy: Callable[..., Path]) -> Path:
    return make_toy(python=everything.scripts / "python")


def test_the_meta_package_brings_all_that_a_model_needs(everything: Environment, toy: Path) -> None:
    native = everything.greedy(toy)
    assert native[0] == "native"
    assert everything.greedy(toy, "numpy")[1:] == native[1:]
    assert len(native) > 1


def test_the_command_answers_from_wheels(everything: Environment, toy: Path) -> None:
    for arguments in (["--help"], ["version"], ["plugins"], ["inspect", "--model", toy]):
        done = everything.run("zig-ai", *arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    chat = everything.run("zig-ai", "chat", "--model", toy, "--max-tokens", "8", stdin="Hello\n")
    assert chat.returncode == 0, chat.stderr
    assert "Traceback" not in chat.stderr


def test_without_the_architecture_the_error_names_it_and_the_package(
    new_environment: Callable[..., Environment], toy: Path
) -> None:
    environment = new_environment("zigai")
    environment.pip("uninstall", "--quiet", "--yes", "zigai-llama")
    done = environment.run("python", "-c", GREEDY, toy, "auto")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "UnsupportedError" in last
    assert "'llama'" in last
    assert "pip install --upgrade zigai-llama" in last
    command = environment.run("zig-ai", "generate", "Hello", "--model", toy)
    assert command.returncode == 1
    assert "zigai-llama" in command.stderr
    assert "Traceback" not in command.stderr
    environment.install("zigai-llama")
    assert environment.greedy(toy)[0] == "native"


def test_without_the_kernels_auto_takes_numpy_and_native_is_named_as_missing(
    new_environment: Callable[..., Environment], everything: Environment, toy: Path
) -> None:
    environment = new_environment("zigai-core", "zigai-gguf", "zigai-tokenizers", "zigai-llama")
    written = environment.greedy(toy)
    assert written[0] == "numpy"
    assert written[1:] == everything.greedy(toy)[1:]
    done = environment.run("python", "-c", GREEDY, toy, "native")
    assert done.returncode != 0
    assert "pip install --upgrade zigai-kernels" in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("missing", "told"), [("zigai-gguf", "install zigai-gguf"), ("zigai-tokenizers", "zigai-tokenizers")]
)
def test_without_a_format_or_a_tokenizer_the_package_to_install_is_named(
    new_environment: Callable[..., Environment], toy: Path, missing: str, told: str
) -> None:
    packages = ["zigai-core", "zigai-gguf", "zigai-tokenizers", "zigai-llama"]
    environment = new_environment(*(name for name in packages if name != missing))
    done = environment.run("python", "-c", GREEDY, toy, "auto")
    assert done.returncode != 0
    assert told in done.stderr.strip().splitlines()[-1]


def test_an_architecture_of_a_stranger_runs_once_it_is_installed(
    new_environment: Callable[..., Environment],
    everything: Environment,
    toy: Path,
    make_toy: Callable[..., Path],
) -> None:
    theirs = make_toy("--architecture", "example", python=everything.scripts / "python")
    environment = new_environment("zigai")
    before = environment.run("python", "-c", GREEDY, theirs, "auto")
    assert before.returncode != 0
    assert "'example'" in before.stderr.strip().splitlines()[-1]
    environment.install("zigai-example")
    # The same weights under another name: the same graph, so the same tokens, on the native backend.
    assert environment.greedy(theirs) == everything.greedy(toy)
    assert "zigai-example" in environment.run("zig-ai", "plugins").stdout
    both = new_environment("zigai-core", "zigai-gguf", "zigai-tokenizers", "zigai-example")
    assert both.greedy(theirs)[1:] == everything.greedy(toy)[1:]


def test_a_name_claimed_by_two_distributions_is_an_error_that_names_both(
    everything: Environment, new_environment: Callable[..., Environment], toy: Path, tmp_path: Path
) -> None:
    environment = new_environment("zigai")
    site = environment.run("python", "-c", "import zigai_llama as z; print(z.__file__)").stdout.strip()
    rival = Path(site).parents[1] / "rival_llama-2.5.dist-info"
    rival.mkdir()
    rival.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: rival-llama\nVersion: 2.5\n")
    rival.joinpath("entry_points.txt").write_text("[zigai.architectures]\nllama = zigai_llama:llama\n")
    done = environment.run("python", "-c", GREEDY, toy, "auto")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "PluginError" in last
    assert "zigai-llama" in last
    assert "rival-llama 2.5" in last
