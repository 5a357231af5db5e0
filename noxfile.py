"""What can be run in this repository: `nox -s chat`, `nox -s tests`, and the rest of `nox --list`.

Sessions that test install wheels built from the sources, as a user gets them; `chat` and `dev` install the
sources themselves, editable. What installs and builds is uv where it can be had, else pip.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests", "docs"]

ROOT = Path(__file__).parent.resolve()
SETTINGS = nox.project.load_toml(ROOT / "pyproject.toml")
PROJECTS: dict[str, dict[str, Any]] = {
    path.parent.name: nox.project.load_toml(path)["project"]
    for path in sorted(ROOT.glob("packages/*/pyproject.toml"))
}
BESIDE_A_PEER = ("compare", "peer")
"""What `nox -s compare` runs."""
KERNELS = "packages/zigai-kernels/tests"
BUILT = shutil.ignore_patterns(
    "__pycache__", "*.pyc", "*.so", "*.o", "*.egg-info", "build", "dist", "_native_*.c", ".hypothesis"
)
TWO_WORKERS = ("pytest", "-n", "2", "--dist", "worksteal")
"""How tests run: `-- -n 0` runs them in one process."""
SETTINGS_OF_TESTS = {
    "OPENBLAS_NUM_THREADS": "1",  # two workers' threads would wait for each other, spinning
    "PYTHONDONTWRITEBYTECODE": "",  # else each of many processes compiles all it imports
}


@nox.session(reuse_venv=True)
def chat(session: nox.Session) -> None:
    """Chat with the model that comes with zigai; `-- --model PATH` and more are options of `zig-ai chat`."""
    install_editable(session)
    # Ctrl-C belongs to the chat, where it stops a reply: nox waits for the chat to end by itself.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        session.run("zig-ai", "chat", *session.posargs)
    finally:
        signal.signal(signal.SIGINT, before)


@nox.session
@nox.parametrize("package", ["all", *PROJECTS], ids=["all", *PROJECTS])
def tests(session: nox.Session, package: str) -> None:
    """Run all tests together, then each package's with nothing but what it declares, then `integration`."""
    if package == "all":
        install_wheels(session, PROJECTS)
        places = [f"packages/{name}/tests" for name in PROJECTS if list_tests(name)] + ["integration-tests"]
        if not session.posargs:
            session.notify("integration")
    else:
        install_wheels(session, closure(package))
        places = [f"packages/{package}/tests"]
        if not list_tests(package):
            session.error(f"packages/{package}/tests holds no test")
    # A choice such as `-k cache` may leave a package with no test to run, which pytest tells by 5.
    success = [0, 5] if session.posargs else [0]
    session.run(*TWO_WORKERS, *session.posargs, *places, success_codes=success, env=SETTINGS_OF_TESTS)


@nox.session
def emulated(session: nox.Session) -> None:
    """Run the kernels' tests on AVX-512 emulated by AVX2; where the CPU has it, compare with it, too."""
    install_wheels(session, closure("zigai-kernels"))
    session.run(*TWO_WORKERS, "-m", "emulated", *session.posargs, KERNELS, env=SETTINGS_OF_TESTS)


@nox.session
def integration(session: nox.Session) -> None:
    """Install the wheels with no index, compose them, leave some out, add a stranger's, and look.

    `-- --real FOLDER` runs the real models of integration-tests/models.toml that lie there, too.
    """
    install(session, *group("test"), "virtualenv", "pip")
    folder = Path(session.create_tmp()).resolve() / "wheelhouse"
    shutil.rmtree(folder, ignore_errors=True)
    own = [str(wheel) for wheel in build_wheels(session).values()]
    build(session, [ROOT / "integration-tests" / "example-plugin"], into=folder)
    files = ["integration-tests/test_wheels.py"]
    if any(argument.startswith("--real") for argument in session.posargs):
        files.append("integration-tests/test_real_models.py")
    session.log("collecting the wheels of what they depend on")
    session.run("python", "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), *own)
    session.run(
        *(*TWO_WORKERS, "-m", "wheels", *session.posargs, *files),
        env={"ZIGAI_WHEELHOUSE": str(folder), "ZIGAI_UV": find_uv() or "", **SETTINGS_OF_TESTS},
    )


@dataclass(frozen=True)
class Sanitizer:
    """How C is compiled and run to be checked, and which tests its runtime cannot serve."""

    library: str
    flags: str
    environment: dict[str, str]
    left_out: tuple[str, ...]


SANITIZERS = {
    "address": Sanitizer(
        "libasan.so",
        # -fwrapv, of the interpreter's own flags, would make signed overflow something that is meant.
        "-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all -fno-wrapv",
        {
            "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter frees little at its end: leaks tell nothing
            "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
            "PYTHONMALLOC": "malloc",  # what lies behind a small object's bytes is watched, too
        },
        # It takes the address space away, which the runtime needs.
        ("test_native_context.py::test_memory_that_the_system_refuses_is_an_error",),
    ),
    "thread": Sanitizer(
        "libtsan.so",
        "-fsanitize=thread",
        {"TSAN_OPTIONS": "halt_on_error=1", "OPENBLAS_NUM_THREADS": "1"},
        # The first for the same reason; the runtime serves no child that starts threads after a fork, and
        # takes many times as long as the last two wait for a chunk to end.
        (
            "test_native_context.py::test_memory_that_the_system_refuses_is_an_error",
            "test_native_fork.py::test_after_a_fork_old_contexts_raise_and_new_ones_work",
            "test_native_fork.py::test_a_process_and_its_fork_end_cleanly_with_running_contexts",
            "test_native_cancellation.py::test_cancel_ends_a_running_step_soon_and_lasts_until_resume",
            "test_native_cancellation.py::test_an_interrupt_ends_a_long_step_and_the_context_stays_usable",
        ),
    ),
}


@nox.session
@nox.parametrize("checker", [*SANITIZERS], ids=[*SANITIZERS])
def sanitize(session: nox.Session, checker: str) -> None:
    """Run the kernels' tests with their C under gcc's AddressSanitizer and UBSan, or its ThreadSanitizer.

    The first finding ends the run. Neither sees all: AddressSanitizer watches what lies around a step's
    scratch memory, but nothing lies between the values in it; ThreadSanitizer sees what our C and the C
    library's functions access, but not what the interpreter and numpy access themselves.
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
        *(*left_out, *session.posargs, KERNELS),
        env={**build, **sanitizer.environment, "LD_PRELOAD": runtime},
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format with ruff."""
    install(session, *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check every package with mypy, strictly and as installed, and then the scripts beside them."""
    install_wheels(session, PROJECTS)
    install(session, *group("types"), *group("compare"), "nox")
    for name in PROJECTS:
        session.run("mypy", "-p", module(name))
    scripts = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("benchmarks/*.py"))
    for script in ["noxfile.py", *scripts]:
        session.run("mypy", script)


@nox.session
def docs(session: nox.Session) -> None:
    """Run every example of the documentation and of the docstrings, and follow every relative link."""
    install_wheels(session, PROJECTS)
    modules = [module(name) for name in PROJECTS]
    session.run("pytest", "--doctest-modules", "--pyargs", *modules)
    session.run("pytest", *session.posargs, "integration-tests/test_documentation.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure. `nox -s bench` runs all benchmarks that need no model; `-- NAME [options]` runs one."""
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

    `-- accuracy [options]` compares numbers in place of speed. `--peer PYTHON` brings a llama.cpp of yours.
    """
    install_wheels(session, PROJECTS)
    install(session, *group("compare"))
    options = list(session.posargs)
    script = options.pop(0) if options[:1] == ["accuracy"] else "compare"
    named = {option.split("=")[0] for option in options}
    if not named & {"--peer", "--from", "--help", "-h"}:
        options = ["--peer", str(peer(session)), *options]
    session.run("python", f"benchmarks/{script}.py", *options)


@nox.session
def oracle(session: nox.Session) -> None:
    """Compare with Hugging Face transformers in float32 (downloads torch); `-- --write` records anew."""
    install_wheels(session, PROJECTS)
    install(session, *group("oracle"))
    install(session, "--no-deps", "axolotl")  # its templates alone
    session.run("python", "integration-tests/oracle/record.py", *session.posargs)
    folder = "integration-tests/oracle"
    session.run("pytest", folder, f"{folder}/compare_templates.py", f"{folder}/compare_tokenizers.py")


@nox.session
@nox.parametrize("family", ["qwen2", "llama"], ids=["qwen2", "llama"])
def reference(session: nox.Session, family: str) -> None:
    """Train a reference model anew (40 minutes on two cores), write its files, and ask the oracle."""
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
    """Make `.venv` with everything editable and all tools but the oracle's."""
    folder = ROOT / ".venv"
    session.run(sys.executable, "-m", "virtualenv", str(folder))
    python = next(path for path in (folder / "bin/python", folder / "Scripts/python.exe") if path.exists())
    tools = sorted({tool for name in ("test", "lint", "types", "bench") for tool in group(name)})
    uv = find_uv()
    pip = (uv, "pip", "install", "--python", str(python)) if uv else (str(python), "-m", "pip", "install")
    session.run(*pip, "nox", *tools, *editable())


def peer(session: nox.Session) -> Path:
    """The python of an environment that holds llama.cpp, made where there is none yet."""
    folder = session.cache_dir.resolve() / "llama-cpp"
    complete = folder / "complete"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        session.log("compiling llama.cpp for this CPU")
        session.run(sys.executable, "-m", "virtualenv", "--quiet", str(folder), external=True)
        native = {"CMAKE_ARGS": "-DGGML_NATIVE=ON"}
        session.run(str(python), "-m", "pip", "install", *group("peer"), env=native, external=True)
        complete.touch()
    return python


def group(name: str) -> tuple[str, ...]:
    """The requirements of a dependency group of the root pyproject.toml."""
    return nox.project.dependency_groups(SETTINGS, name)


def module(package: str) -> str:
    """The import name of a distribution of ours."""
    return package.replace("-", "_")


def list_tests(package: str) -> list[Path]:
    """The test files of a package."""
    return sorted((ROOT / "packages" / package / "tests").glob("**/test_*.py"))


def closure(package: str) -> list[str]:
    """The package and those of ours that it declares, and that they declare."""
    names = [package]
    for name in names:
        declared = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in PROJECTS[name]["dependencies"]]
        names += [other for other in declared if other in PROJECTS and other not in names]
    return names


def editable() -> list[str]:
    """Arguments of one pip call that installs every package editable: pip wants `-e` once per path."""
    return [argument for name in PROJECTS for argument in ("-e", str(ROOT / "packages" / name))]


def install_editable(session: nox.Session) -> None:
    """Install the sources, unless this environment holds them as they are now.

    Python files need no second installation; metadata and what is compiled does.
    """
    patterns = ("pyproject.toml", "setup.py", "native/**/*.*")
    sources = [path for pattern in patterns for path in ROOT.glob(f"packages/*/{pattern}")]
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(sources):
        if path.suffix in (".py", ".c", ".h", ".toml"):
            digest.update(str(path).encode() + path.read_bytes())
    stamp = Path(session.virtualenv.location) / "installed-sources"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    session.log("installing ZigAI; the first time this takes a minute, since its kernels are compiled")
    install(session, *editable())
    stamp.write_text(digest.hexdigest())


def install_wheels(session: nox.Session, names: Iterable[str]) -> None:
    """Install these packages as wheels of the present sources, and the tools that run tests."""
    wheels = build_wheels(session)
    chosen = [str(wheels[name]) for name in names]
    install(session, *chosen, *group("test"))
    # An environment that is used again holds the same versions of older sources.
    install(session, "--no-deps", "--force-reinstall", *chosen)


def build_wheels(session: nox.Session) -> dict[str, Path]:
    """The wheel of each package, built where there is none of the present sources."""
    folder = session.cache_dir.resolve() / "wheels"
    wanted = {name: folder / fingerprint(ROOT / "packages" / name) for name in PROJECTS}
    missing = [name for name, place in wanted.items() if not list(place.glob("*.whl"))]
    for old in set(folder.glob("*")) - set(wanted.values()):
        shutil.rmtree(old)
    if missing:
        session.log(f"building {', '.join(missing)}")
        building = folder / "building"
        build(session, [ROOT / "packages" / name for name in missing], into=building)
        for wheel in building.glob("*.whl"):
            place = wanted[wheel.name.split("-")[0].replace("_", "-")]
            place.mkdir(exist_ok=True)
            wheel.rename(place / wheel.name)
        shutil.rmtree(building)
    return {name: next(place.glob("*.whl")) for name, place in wanted.items()}


def fingerprint(package: Path) -> str:
    """A name for what a package's wheel is made of: its files, the interpreter, the compiler's settings."""
    settings = [os.environ.get(name, "") for name in ("CC", "CFLAGS", "LDFLAGS", "ZIGAI_MORE_FLAGS")]
    digest = hashlib.sha256(repr((package.name, sys.version, settings)).encode())
    for folder, folders, files in os.walk(package):
        built = BUILT(folder, folders + files)
        folders[:] = sorted(set(folders) - built - {"tests"})
        for path in (Path(folder, name) for name in sorted(set(files) - built)):
            digest.update(
                f"{path.relative_to(package)}\0{path.stat().st_size}\0".encode() + path.read_bytes()
            )
    return digest.hexdigest()[:32]


def build(session: nox.Session, packages: list[Path], *, into: Path) -> None:
    """Build wheels of source folders, each from a copy, so that no older build's leavings get into them."""
    copies = into.parent / f"{into.name}-sources"
    shutil.rmtree(copies, ignore_errors=True)
    for package in packages:
        shutil.copytree(package, copies / package.name, ignore=BUILT)
    sources = [str(copies / package.name) for package in packages]
    if uv := find_uv():
        # The kernels' compiler runs while the others are built.
        def build_one(source: str) -> None:
            command = [uv, "build", "--quiet", "--wheel", "--python", f"{session.bin}/python"]
            session.run(*command, "--out-dir", str(into), source, external=True, log=False)

        with ThreadPoolExecutor(len(sources)) as pool:
            list(pool.map(build_one, sources))
    else:
        session.install("pip")
        session.run(
            "python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(into), *sources
        )
    shutil.rmtree(copies)


def install(session: nox.Session, *arguments: str) -> None:
    """What `session.install` does, by uv where it can be had: that takes a fraction of pip's time."""
    uv = None if session.venv_backend == "uv" else find_uv()
    if uv:
        session.run(uv, "pip", "install", "--quiet", *arguments, external=True)
    else:
        session.install(*arguments)


@functools.cache
def find_uv() -> str | None:
    """The machine's uv, else one in `.cache`, from where pip has it; `None` where pip has none."""
    folder = ROOT / ".cache" / "uv"
    places = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent), str(folder / "bin")]
    found = shutil.which("uv", path=os.pathsep.join(places))
    if found is None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "uv"]
        subprocess.run(pip, check=False)
        found = shutil.which("uv", path=str(folder / "bin"))
        if found is None:
            print(
                "there is no uv to be had here: pip installs and builds, which takes longer", file=sys.stderr
            )
    return found


def tell_uv_what_pip_knows() -> None:
    """Give uv the indexes, folders and certificates that pip is set up with, unless uv has its own."""
    if any(name in os.environ for name in ("UV_INDEX", "UV_DEFAULT_INDEX")):
        return
    pip = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(pip, capture_output=True, text=True, check=False).stdout
    # A later line wins: pip lists its files from the most general on, then the environment.
    settings = dict(re.findall(r"^(?:[\w-]+|:env:)\.([\w-]+)='(.*)'$", listing, flags=re.MULTILINE))
    names = {
        "UV_DEFAULT_INDEX": settings.get("index-url"),
        "UV_INDEX": settings.get("extra-index-url"),
        "UV_CONSTRAINT": settings.get("constraint"),
        "UV_FIND_LINKS": ",".join(settings.get("find-links", "").split()),
        "SSL_CERT_FILE": settings.get("cert"),
        "UV_INDEX_STRATEGY": "unsafe-best-match",  # pip's own: all indexes are one
    }
    for name, value in names.items():
        if value:
            os.environ.setdefault(name, value)


tell_uv_what_pip_knows()
