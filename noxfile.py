"""The tasks of this repository: `nox -s chat`, `nox -s tests` and the others that `nox --list` shows.

Sessions that test install wheels built from the sources, as a user gets them; `chat` and `dev` install the
sources themselves, editable. `tools/environments.py` makes their environments.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).resolve().parent / "tools"))
from environments import (
    BUILT,
    PROJECTS,
    ROOT,
    build,
    build_wheels,
    closure,
    editable,
    find_uv,
    group,
    install,
    install_editable,
    install_wheels,
    list_tests,
    module,
    tell_uv_what_pip_knows,
)

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests", "docs"]

BESIDE_A_PEER = ("compare", "peer", "embeddings", "embeddings_peer")
"""Benchmarks that need another engine; `nox -s compare` runs them."""
KERNELS = "packages/zigai-kernels/tests"
ENGINE_ON_KERNELS = "integration-tests/test_engine_in_company.py"
"""Random requests on the native backend; needs no package but core and kernels."""
SOAK = {"ZIGAI_ENGINE_OPERATIONS": "20000", "ZIGAI_ENGINE_INTERRUPTS": "10000"}
"""Random operations on the engine, and points at which it is interrupted: those are all that there are."""
SOAKED = (
    "packages/zigai-core/tests/test_engine_random.py",
    "packages/zigai-core/tests/test_engine_interrupts.py",
    ENGINE_ON_KERNELS,
)
EXAMPLES = ("example-format", "example-plugin", "example-recurrent", "example-sampler")
"""Folders of integration-tests with packages of plugins, which the session `integration` builds, too."""
FAMILIES = [
    name for name, project in PROJECTS.items() if "zigai.architectures" in project.get("entry-points", {})
]
"""Packages with architectures, whose suites compare all installed backends; the tests of other packages need
no others, so that the package's own session runs all of them."""
OF_GRAPHS = "every_mutant or hyperparameter or a_tensor_that or a_tensor_of"
"""Tests of families' suites that compute with numpy alone: they run in the families' own sessions."""
TWO_WORKERS = ("pytest", "-n", "2", "--dist", "worksteal")
"""The command that runs tests, in two processes; `-- -n 0` runs them in one."""
SETTINGS_OF_TESTS = {
    "OPENBLAS_NUM_THREADS": "1",  # the spinning threads of two workers would contend for the cores
    "PYTHONDONTWRITEBYTECODE": "",  # without bytecode each process would compile all that it imports
}


@nox.session(reuse_venv=True)
def chat(session: nox.Session) -> None:
    """Chat with the model that comes with zigai; `-- --model PATH` and more are options of `zig-ai chat`."""
    install_editable(session)
    # Ctrl-C stops a reply in the chat, so nox must not end the session on it.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        session.run("zig-ai", "chat", *session.posargs)
    finally:
        signal.signal(signal.SIGINT, before)


@nox.session
@nox.parametrize("package", ["together", *PROJECTS], ids=["together", *PROJECTS])
def tests(session: nox.Session, package: str) -> None:
    """Run each package's tests with its declared dependencies only, and those of all packages together.

    The latter are integration-tests, and of the suites of families what compares backends; the session
    `integration` follows.
    """
    # A choice such as `-k cache` may leave a package with no test to run, which pytest tells by 5.
    success = [0, 5] if session.posargs else [0]
    if package == "together":
        install_wheels(session, PROJECTS)
        places = ["integration-tests"]
        suites = [f"packages/{name}/tests" for name in FAMILIES]
        chosen = session.posargs or ("-k", f"not ({OF_GRAPHS})")
        session.run(*TWO_WORKERS, *chosen, *suites, success_codes=success, env=SETTINGS_OF_TESTS)
        if not session.posargs:
            session.notify("integration")
    else:
        install_wheels(session, closure(package))
        places = [f"packages/{package}/tests"]
        if not list_tests(package):
            session.error(f"packages/{package}/tests holds no test")
    session.run(*TWO_WORKERS, *session.posargs, *places, success_codes=success, env=SETTINGS_OF_TESTS)


@nox.session
def emulated(session: nox.Session) -> None:
    """Run the kernels' tests on AVX-512 emulated by AVX2; on CPUs with AVX-512, compare the two."""
    install_wheels(session, closure("zigai-kernels"))
    install(session, "setuptools")  # cffi compiles the emulated module with it
    session.run(*TWO_WORKERS, "-m", "emulated", *session.posargs, KERNELS, env=SETTINGS_OF_TESTS)


@nox.session
def integration(session: nox.Session) -> None:
    """Test installations from wheels without a package index: all, subsets, and with third-party plugins.

    `-- --real FOLDER` also tests the models of integration-tests/models.toml that are in the folder.
    """
    install(session, *group("test"), "virtualenv", "pip")
    folder = Path(session.create_tmp()).resolve() / "wheelhouse"
    cache = folder.with_name("uv-cache")  # uv would take a wheel of the same name that it has seen before
    for place in (folder, cache):
        shutil.rmtree(place, ignore_errors=True)
    own = [str(wheel) for wheel in build_wheels(session).values()]
    build(session, [ROOT / "integration-tests" / name for name in EXAMPLES], into=folder)
    files = ["integration-tests/test_wheels.py", "integration-tests/test_first_hour.py"]
    if any(argument.startswith("--real") for argument in session.posargs):
        files.append("integration-tests/test_real_models.py")
    session.log("collecting the wheels of what they depend on")
    made = ("hatchling>=1.24", "pytest>=8")  # packages of `zig-ai new` are built and tested, too
    session.run("python", "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), *own, *made)
    session.run(
        *(*TWO_WORKERS, "-m", "wheels", *session.posargs, *files),
        env={
            "ZIGAI_WHEELHOUSE": str(folder),
            "ZIGAI_UV": find_uv() or "",
            "UV_CACHE_DIR": str(cache),
            **SETTINGS_OF_TESTS,
        },
    )


@dataclass(frozen=True)
class Sanitizer:
    """Compiler flags and environment of a sanitizer, and the tests that its runtime cannot run."""

    library: str
    flags: str
    environment: dict[str, str]
    left_out: tuple[str, ...]


SANITIZERS = {
    "address": Sanitizer(
        "libasan.so",
        # -fwrapv, one of the interpreter's flags, would make signed overflow defined.
        "-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all -fno-wrapv",
        {
            "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter does not free its memory at exit
            "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
            "PYTHONMALLOC": "malloc",  # also checks the bytes behind small objects
        },
        # It takes the address space away, which the runtime needs.
        ("test_native_executor.py::test_memory_that_the_system_refuses_is_an_error",),
    ),
    "thread": Sanitizer(
        "libtsan.so",
        "-fsanitize=thread",
        {"TSAN_OPTIONS": "halt_on_error=1", "OPENBLAS_NUM_THREADS": "1"},
        # The first for the same reason; the runtime serves no child that starts threads after a fork, and
        # takes many times as long as the last six wait for a chunk to end.
        (
            "test_native_executor.py::test_memory_that_the_system_refuses_is_an_error",
            "test_native_fork.py::test_after_a_fork_old_executors_raise_and_new_ones_work",
            "test_native_fork.py::test_a_process_and_its_fork_end_cleanly_with_running_executors",
            "test_native_fork.py::test_an_engine_goes_on_after_a_fork_and_begins_afresh_in_the_child",
            "test_native_cancellation.py::test_a_stop_cell_ends_a_running_step_soon_and_others_not",
            "test_native_cancellation.py::test_an_interrupt_ends_a_long_step_and_the_executor_stays_usable",
            "test_native_cancellation.py::test_an_interrupt_ends_the_wait_for_a_turn",
            "test_native_cancellation.py::test_a_signal_handler_that_uses_an_executor_in_a_step_gets_an_error",
            "test_native_threads.py::test_a_process_ends_at_once_while_a_daemon_thread_is_inside_a_long_step",
            "test_native_threads.py::test_executors_and_programs_may_be_collected_inside_a_step",
        ),
    ),
}


@nox.session
@nox.parametrize("checker", [*SANITIZERS], ids=[*SANITIZERS])
def sanitize(session: nox.Session, checker: str) -> None:
    """Run the kernels' tests with their C under gcc's AddressSanitizer and UBSan, or its ThreadSanitizer.

    An engine with random requests runs on the native backend, too. The first finding ends the run. Neither
    sees all: AddressSanitizer watches what lies around a step's scratch memory, but nothing lies between the
    values in it; ThreadSanitizer sees what our C and the C library's functions access, but not what the
    interpreter and numpy access themselves.
    """
    sanitizer = SANITIZERS[checker]
    runtime = subprocess.run(
        ["gcc", f"-print-file-name={sanitizer.library}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(runtime).is_absolute():
        session.error(f"gcc comes without {sanitizer.library}")
    build = {"CC": "gcc", "ZIGAI_MORE_FLAGS": f"-O1 -g -fno-omit-frame-pointer {sanitizer.flags}"}
    install(session, "pip", "setuptools", *group("test"))
    copy = Path(session.create_tmp()).resolve() / "zigai-kernels"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "packages" / "zigai-kernels", copy, ignore=BUILT)
    packages = [str(ROOT / "packages" / "zigai-core"), str(copy)]
    session.run("python", "-m", "pip", "install", "--quiet", *packages, env=build)
    shutil.rmtree(copy)
    left_out = [f"--deselect={KERNELS}/{test}" for test in sanitizer.left_out]
    session.run(
        # The runtime writes to the process's own stderr, and sees to bad accesses itself.
        *("python", "-m", "pytest", "--capture=sys", "-p", "no:faulthandler", "-m", ""),
        *(*left_out, *session.posargs, KERNELS, ENGINE_ON_KERNELS),
        env={**build, **sanitizer.environment, "LD_PRELOAD": runtime},
    )


@nox.session
def soak(session: nox.Session) -> None:
    """Run many random operations on the engine, and interrupt it at every point; before a release.

    `ZIGAI_ENGINE_OPERATIONS` and `ZIGAI_ENGINE_INTERRUPTS` change how many.
    """
    install_wheels(session, PROJECTS)
    many = {name: os.environ.get(name, count) for name, count in SOAK.items()}
    session.run(*TWO_WORKERS, *session.posargs, *SOAKED, env={**SETTINGS_OF_TESTS, **many})


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format with ruff."""
    install(session, *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check every installed package with mypy in strict mode, then scripts and what `zig-ai new` writes."""
    install_wheels(session, PROJECTS)
    install(session, *group("types"), *group("compare"), *group("lint"), "nox")
    for name in PROJECTS:
        session.run("mypy", "-p", module(name))
    scripts = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("benchmarks/*.py"))
    for script in ["noxfile.py", "tools/environments.py", *scripts]:
        session.run("mypy", script)
    session.run("pytest", "packages/zigai-cli/tests/test_cli_new.py", "-k", "ruff_and_mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Run the examples in the documentation and docstrings, and check relative links."""
    install_wheels(session, PROJECTS)
    modules = [module(name) for name in PROJECTS]
    session.run("pytest", "--doctest-modules", "--pyargs", *modules)
    session.run("pytest", *session.posargs, "integration-tests/test_documentation.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks that need no model, or one of them: `-- NAME [options]`."""
    install_wheels(session, PROJECTS)
    install(session, *group("bench"))
    names = [path.stem for path in sorted(ROOT.glob("benchmarks/*.py")) if path.stem not in BESIDE_A_PEER]
    if not session.posargs:
        for name in names:
            session.run("python", f"benchmarks/{name}.py")
        return
    name, *options = session.posargs
    if name not in names:
        session.error(f"there is no benchmark {name!r}; there are {', '.join(names)}")
    session.run("python", f"benchmarks/{name}.py", *options)


@nox.session
def compare(session: nox.Session) -> None:
    """Measure ZigAI beside llama.cpp, compiled for this CPU (once, ten minutes): `-- MODEL... [options]`.

    `-- accuracy [options]` compares accuracy instead of speed, `-- embeddings FOLDER [options]` an encoder
    with sentence-transformers (downloads torch). `--peer PYTHON` uses an installed one.
    """
    install_wheels(session, PROJECTS)
    install(session, *group("compare"))
    options = list(session.posargs)
    script = options.pop(0) if options[:1] in (["accuracy"], ["embeddings"]) else "compare"
    named = {option.split("=")[0] for option in options}
    if not named & {"--peer", "--from", "--help", "-h"}:
        found = peer(session, "sentence-transformers" if script == "embeddings" else "llama-cpp")
        options = ["--peer", str(found), *options]
    session.run("python", f"benchmarks/{script}.py", *options)


@nox.session
def oracle(session: nox.Session) -> None:
    """Compare with Hugging Face transformers in float32 (downloads torch); `-- --write` records values.

    Compares with llama.cpp, too, if `nox -s compare` has compiled it, or ZIGAI_LLAMA_CPP names its python.
    """
    install_wheels(session, PROJECTS)
    install(session, *group("oracle"))
    install(session, "--no-deps", "axolotl")  # its templates alone
    install(session, "--no-deps", "ggml-python")  # its libggml alone
    folder, write = "integration-tests/oracle", "--write" in session.posargs
    session.run("python", f"{folder}/record.py", *session.posargs)
    for oracles in sorted(ROOT.glob("packages/*/tests/**/cases.toml")):
        check = () if write else ("--check",)
        session.run("python", "-m", "zigai_core.testing.oracles", str(oracles.parent), *check)
    made = {"ZIGAI_LLAMA_CPP": str(peer_python(session))} if peer_complete(session).exists() else {}
    environment = made | dict(os.environ)
    if write:
        session.run("python", f"{folder}/families.py", env=environment)
    compared = (
        *("templates", "tokenizers", "folders", "encoders", "embeddings", "oracles", "settings", "new"),
        "llama_cpp",
    )
    others = [f"{folder}/compare_{what}.py" for what in compared]
    session.run("pytest", folder, *others, env=environment)


@nox.session
@nox.parametrize("family", ["qwen2", "llama"], ids=["qwen2", "llama"])
def reference(session: nox.Session, family: str) -> None:
    """Train a reference model (40 minutes on two cores), write its files, evaluate with transformers."""
    install_wheels(session, PROJECTS)
    install(session, *group("reference"))
    scripts, folder = (
        ROOT / "integration-tests" / "reference_models",
        session.cache_dir / f"reference-{family}",
    )
    session.run("python", str(scripts / "train.py"), family, "--out", str(folder), *session.posargs)
    session.run("python", str(scripts / "export.py"), family, str(folder))
    session.run("python", str(scripts / "evaluate.py"), family, str(folder))


@nox.session(venv_backend="none")
def dev(session: nox.Session) -> None:
    """Make `.venv` with all packages editable and all tools except the oracle's."""
    folder = ROOT / ".venv"
    session.run(sys.executable, "-m", "virtualenv", str(folder))
    python = next(path for path in (folder / "bin/python", folder / "Scripts/python.exe") if path.exists())
    tools = sorted({tool for name in ("test", "lint", "types", "bench") for tool in group(name)})
    uv = find_uv()
    pip = (uv, "pip", "install", "--python", str(python)) if uv else (str(python), "-m", "pip", "install")
    session.run(*pip, "nox", *tools, *editable())


def peer_folder(session: nox.Session, name: str = "llama-cpp") -> Path:
    """The environment with another engine, which need not exist."""
    return session.cache_dir.resolve() / name


def peer_python(session: nox.Session, name: str = "llama-cpp") -> Path:
    """The Python of the environment with another engine, which need not exist."""
    return peer_folder(session, name) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def peer_complete(session: nox.Session, name: str = "llama-cpp") -> Path:
    """A file that exists once that environment is complete."""
    return peer_folder(session, name) / "complete"


def peer(session: nox.Session, name: str) -> Path:
    """The Python of an environment with another engine, created on first use."""
    folder, python = peer_folder(session, name), peer_python(session, name)
    complete = peer_complete(session, name)
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        session.log(f"installing {name}, which may have to be compiled")
        session.run(sys.executable, "-m", "virtualenv", "--quiet", str(folder), external=True)
        native = {"CMAKE_ARGS": "-DGGML_NATIVE=ON"}
        session.run(str(python), "-m", "pip", "install", *group(name), env=native, external=True)
        complete.touch()
    return python


tell_uv_what_pip_knows()
