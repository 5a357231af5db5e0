"""The wheels as users install them: all together, with one missing, with an external plugin.

`nox -s integration` builds all wheels, dependencies included, in the folder `ZIGAI_WHEELHOUSE`. Every
environment is installed from that folder alone, without an index.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.wheels
GREEDY = """
import sys, zigai_core.api.loading as loading
from zigai_core.contracts.options import SamplingOptions
model = loading.load(sys.argv[1], backend=sys.argv[2])
reply = model.generate([1, 300, 301], sampling=SamplingOptions(temperature=0.0), max_tokens=24)
reply.text
print(model.backend, *reply.tokens)
"""


@pytest.fixture(scope="module")
def toy(everything: Any, make_toy: Callable[..., Path]) -> Path:
    return make_toy(python=everything.scripts / "python")


def greedy(environment: Any, model: Path, backend: str = "auto") -> list[str]:
    """The chosen backend, and the tokens of a greedy reply."""
    output: str = environment.check("python", "-c", GREEDY, model, backend)
    return output.split()


def test_the_meta_package_installs_all_that_a_model_needs(everything: Any, toy: Path) -> None:
    native = greedy(everything, toy)
    assert native[0] == "native"
    assert greedy(everything, toy, "numpy")[1:] == native[1:]
    assert len(native) > 1


def test_the_command_works_from_wheels(everything: Any, toy: Path) -> None:
    for arguments in (["--help"], ["version"], ["plugins"], ["inspect", "--model", toy]):
        done = everything.run("zig-ai", *arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    chat = everything.run("zig-ai", "chat", "--model", toy, "--max-tokens", "8", stdin="Hello\n")
    assert chat.returncode == 0, chat.stderr
    assert "Traceback" not in chat.stderr


def test_without_the_architecture_the_error_names_it_and_the_package(
    new_environment: Callable[..., Any], toy: Path
) -> None:
    environment = new_environment("zigai")
    environment.uninstall("zigai-llama")
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
    assert greedy(environment, toy)[0] == "native"


def test_without_the_kernels_auto_chooses_numpy_and_native_is_named_as_missing(
    new_environment: Callable[..., Any], everything: Any, toy: Path
) -> None:
    environment = new_environment("zigai")
    environment.uninstall("zigai-kernels")
    written = greedy(environment, toy)
    assert written[0] == "numpy"
    assert written[1:] == greedy(everything, toy)[1:]
    done = environment.run("python", "-c", GREEDY, toy, "native")
    assert done.returncode != 0
    assert "pip install --upgrade zigai-kernels" in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("missing", ["zigai-gguf", "zigai-tokenizers"])
def test_without_a_format_or_a_tokenizer_the_package_to_install_is_named(
    new_environment: Callable[..., Any], toy: Path, missing: str
) -> None:
    environment = new_environment("zigai")
    environment.uninstall(missing)
    done = environment.run("python", "-c", GREEDY, toy, "auto")
    assert done.returncode != 0
    assert f"pip install --upgrade {missing}" in done.stderr.strip().splitlines()[-1]


def test_an_external_architecture_runs_once_it_is_installed(
    new_environment: Callable[..., Any],
    everything: Any,
    make_toy: Callable[..., Path],
) -> None:
    # GGUF pairs the rows of both for RoPE in the same way.
    qwen = make_toy("--architecture", "qwen2", python=everything.scripts / "python")
    theirs = make_toy("--architecture", "example", python=everything.scripts / "python")
    environment = new_environment("zigai")
    before = environment.run("python", "-c", GREEDY, theirs, "auto")
    assert before.returncode != 0
    assert "'example'" in before.stderr.strip().splitlines()[-1]
    environment.install("zigai-example")
    # The same weights under another name: the same graph, so the same tokens, on the native backend.
    assert greedy(environment, theirs) == greedy(everything, qwen)
    assert "zigai-example" in environment.run("zig-ai", "plugins").stdout
    both = new_environment("zigai-core", "zigai-gguf", "zigai-tokenizers", "zigai-example")
    assert greedy(both, theirs)[1:] == greedy(everything, qwen)[1:]


FORMAT_TESTS = Path(__file__).resolve().parent / "example-format" / "tests" / "test_llama2c.py"
RUN_TESTS = """
import runpy, sys, tempfile
from pathlib import Path

count = 0
for name, found in runpy.run_path(sys.argv[1]).items():
    if not name.startswith(("test_", "Test")):
        continue
    tests = [getattr(found(), each) for each in dir(found) if each.startswith("test_")]
    for test in tests if name.startswith("Test") else [found]:
        with tempfile.TemporaryDirectory() as folder:
            test(*([Path(folder)] if "tmp_path" in test.__annotations__ else []))
        count += 1
print(count)
"""
"""Runs tests that need no pytest, which is not installed in these environments."""
WRITE = """
import runpy, sys
from pathlib import Path
from zigai_core.testing.toys import toy_decoder
runpy.run_path(sys.argv[1])["write"](toy_decoder(hidden=192), Path(sys.argv[2]))
"""


def test_an_external_format_passes_its_tests_with_nothing_but_what_it_declares(
    new_environment: Callable[..., Any],
) -> None:
    environment = new_environment("zigai-llama2c")
    assert int(environment.check("python", "-W", "error", "-c", RUN_TESTS, FORMAT_TESTS)) > 30
    done = environment.run("python", "-c", "import zigai_gguf")
    assert "ModuleNotFoundError" in done.stderr


def test_an_external_format_is_read_once_it_is_installed(
    new_environment: Callable[..., Any], everything: Any, toy: Path, tmp_path: Path
) -> None:
    environment = new_environment("zigai", "zigai-llama2c")
    environment.check("python", "-c", WRITE, FORMAT_TESTS, tmp_path / "toy")
    theirs = tmp_path / "toy.bin"
    before = everything.run("python", "-c", GREEDY, theirs, "auto")
    assert before.returncode != 0
    assert "not a model file of an installed format" in before.stderr.strip().splitlines()[-1]
    # The same weights in another format, so the same tokens, on the native backend.
    assert greedy(environment, theirs) == greedy(everything, toy)
    assert "zigai-llama2c" in environment.run("zig-ai", "plugins").stdout


RECURRENT = Path(__file__).resolve().parent / "example-recurrent" / "tests"
OWN_TESTS = """
import sys, importlib
sys.path.insert(0, sys.argv[1])
tests = importlib.import_module("test_mingru")
names = [name for name in vars(tests) if name.startswith("test_")]
for name in names:
    getattr(tests, name)()
from zigai_core.api.registry import Plugins
sys.path.remove(sys.argv[1])
print(len(names), *Plugins.installed().architectures)
"""
TOY_OF_IT = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from toy_mingru import toy_mingru
from toy_model import write_toy
write_toy(Path(sys.argv[1]), toy_mingru())
"""


def test_a_recurrent_architecture_passes_its_tests_with_nothing_but_what_it_declares(
    new_environment: Callable[..., Any],
) -> None:
    environment = new_environment("zigai-mingru")
    count, *architectures = environment.check("python", "-c", OWN_TESTS, RECURRENT).split()
    assert int(count) >= 5
    assert architectures == ["mingru"]


def test_a_recurrent_architecture_runs_on_numpy_beside_the_native_backend(
    new_environment: Callable[..., Any], tmp_path: Path
) -> None:
    environment, model = new_environment("zigai"), tmp_path / "toy.gguf"
    environment.install("zigai-mingru")
    environment.check("python", "-c", TOY_OF_IT, model, RECURRENT, Path(__file__).parent)
    assert greedy(environment, model)[0] == "numpy"
    done = environment.run("python", "-c", GREEDY, model, "native")
    assert done.returncode != 0
    assert "operation MinGRU" in done.stderr.strip().splitlines()[-1]


SUITE = """
import importlib.util, sys
from importlib.metadata import distributions
spec = importlib.util.spec_from_file_location("tested", sys.argv[1])
tested = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tested)
suites = [value for name, value in vars(tested).items() if name.startswith("Test")]
tests = [(suite, name) for suite in suites for name in dir(suite) if name.startswith("test_")]
for suite, name in tests:
    getattr(suite(), name)()
print(len(tests), *sorted(found.name for found in distributions() if found.name.startswith("zigai")))
"""
"""Runs the tests of a module that only inherits from a conformance suite; these need no pytest."""


def test_an_external_sampler_step_passes_the_suite_with_nothing_but_what_it_declares(
    new_environment: Callable[..., Any],
) -> None:
    tests = Path(__file__).resolve().parent / "example-sampler" / "tests" / "test_eta.py"
    count, *installed = new_environment("zigai-eta").check("python", "-c", SUITE, tests).split()
    assert int(count) >= 14
    assert installed == ["zigai-core", "zigai-eta"]


ETA = """
import sys, zigai
from zigai_eta import EtaOptions
model = zigai.load(sys.argv[1])
for cutoff in (0.0, 0.5):
    options = EtaOptions(eta_cutoff=cutoff, top_k=0, top_p=1.0, min_p=0.0, temperature=2.0, seed=1)
    reply = model.generate([1, 300, 301], sampling=options, max_tokens=24)
    reply.text
    print(*reply.tokens, sep=",")
"""


def test_an_external_sampler_step_is_found_once_it_is_installed(
    new_environment: Callable[..., Any], toy: Path
) -> None:
    environment = new_environment("zigai", "zigai-eta")
    assert "zigai-eta" in environment.check("zig-ai", "plugins")
    without, with_step = environment.check("python", "-c", ETA, toy).split()
    assert without != with_step
    environment.uninstall("zigai-eta")
    code = "import sys, zigai; zigai.load(sys.argv[1]).generate('a', steps=('eta',)).text"
    done = environment.run("python", "-c", code, toy)
    assert done.returncode != 0
    assert "'eta'" in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("kind", "registered"),
    [("architecture", "zigai_own:own"), ("format", "zigai_own:OwnFormat"), ("sampler", "zigai_own:own")],
)
def test_a_package_of_the_generator_is_built_tested_and_listed(
    new_environment: Callable[..., Any], tmp_path: Path, kind: str, registered: str
) -> None:
    environment = new_environment("zigai-cli")
    environment.check("zig-ai", "new", kind, "own", "--into", tmp_path)
    package = tmp_path / "zigai-own"
    environment.install(f"{package}[test]")
    output = environment.check("python", "-m", "pytest", "-p", "no:cacheprovider", package)
    assert int(output.split(" passed")[0].split()[-1]) > 10
    listed = environment.check("zig-ai", "plugins")
    assert registered in listed
    assert listed.count("zigai-own 0.1.0") == (2 if kind == "architecture" else 1)


def test_a_name_claimed_by_two_distributions_is_an_error_that_names_both(
    everything: Any, new_environment: Callable[..., Any], toy: Path, tmp_path: Path
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


REFERENCE = Path(__file__).resolve().parent / "reference_models"


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_a_trained_model_answers_from_wheels(everything: Any, family: str, backend: str) -> None:
    model = REFERENCE / f"reference-{family}.Q4_K_M.gguf"
    ask = ("zig-ai", "chat", "--backend", backend, "--temperature", "0")
    for options, question, answer in (
        (["--model", model], "My name is Anna.", "Nice to meet you, Anna.\n"),
        (["--continue"], "what is the capital of France?", "The capital of France is Paris.\n"),
        (["--continue"], "What is my name?", "Your name is Anna.\n"),
    ):
        assert everything.check(*ask, *options, question) == answer


def test_without_the_meta_package_the_error_says_that_no_model_is_bundled(
    new_environment: Callable[..., Any],
) -> None:
    environment = new_environment("zigai-cli", "zigai-gguf", "zigai-qwen", "zigai-tokenizers")
    done = environment.run("zig-ai", "chat", stdin="hello\n")
    assert done.returncode == 1
    assert "no model is named, and no installed package has one" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_qwen_package_the_error_names_it(
    new_environment: Callable[..., Any],
) -> None:
    environment = new_environment("zigai")
    environment.uninstall("zigai-qwen")
    done = environment.run("zig-ai", "chat", stdin="hello\n")
    assert done.returncode == 1
    assert "'qwen2'" in done.stderr
    assert "pip install --upgrade zigai-qwen" in done.stderr
    assert "Traceback" not in done.stderr
