"""Environments of nox sessions: what is installed into them, and the wheels of the packages.

uv installs and builds where it is available, else pip.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nox

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = nox.project.load_toml(ROOT / "pyproject.toml")
PROJECTS: dict[str, dict[str, Any]] = {
    path.parent.name: nox.project.load_toml(path)["project"]
    for path in sorted(ROOT.glob("packages/*/pyproject.toml"))
}
BUILT = shutil.ignore_patterns(
    "__pycache__", "*.pyc", "*.so", "*.o", "*.egg-info", "build", "dist", "_native_*.c", ".hypothesis"
)


def group(name: str) -> tuple[str, ...]:
    """The requirements of a dependency group in the root pyproject.toml."""
    return nox.project.dependency_groups(SETTINGS, name)


def module(package: str) -> str:
    """The import name of a distribution of ours."""
    return package.replace("-", "_")


def list_tests(package: str) -> list[Path]:
    """The test files of a package."""
    return sorted((ROOT / "packages" / package / "tests").glob("**/test_*.py"))


def closure(package: str) -> list[str]:
    """The package and its declared dependencies among our packages, transitively."""
    names = [package]
    for name in names:
        declared = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in PROJECTS[name]["dependencies"]]
        names += [other for other in declared if other in PROJECTS and other not in names]
    return names


def editable() -> list[str]:
    """Arguments that install every package editable."""
    return [argument for name in PROJECTS for argument in ("-e", str(ROOT / "packages" / name))]


def install_editable(session: nox.Session) -> None:
    """Install all packages editable, unless metadata and compiled sources are unchanged."""
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
    """Install wheels of these packages, built from the current sources, and the test tools."""
    wheels = build_wheels(session)
    chosen = [str(wheels[name]) for name in names]
    install(session, *chosen, *group("test"))
    # A reused environment may hold the same versions of older sources.
    install(session, "--no-deps", "--force-reinstall", *chosen)


def build_wheels(session: nox.Session) -> dict[str, Path]:
    """The wheel of each package; built if there is none of the current sources."""
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
    """Hash of everything that determines a wheel: source files, interpreter, compiler settings."""
    settings = [os.environ.get(name, "") for name in ("CC", "CFLAGS", "LDFLAGS", "ZIGAI_MORE_FLAGS")]
    digest = hashlib.sha256(repr((package.name, sys.version, settings)).encode())
    for folder, folders, files in os.walk(package):
        built = BUILT(folder, folders + files)
        own_tests = {"tests"} if Path(folder) == package else set()  # not those of a template in src
        folders[:] = sorted(set(folders) - built - own_tests)
        for path in (Path(folder, name) for name in sorted(set(files) - built)):
            digest.update(
                f"{path.relative_to(package)}\0{path.stat().st_size}\0".encode() + path.read_bytes()
            )
    return digest.hexdigest()[:32]


def build(session: nox.Session, packages: list[Path], *, into: Path) -> None:
    """Build wheels from copies of source folders, so that no files of older builds get into them."""
    copies = into.parent / f"{into.name}-sources"
    shutil.rmtree(copies, ignore_errors=True)
    for package in packages:
        shutil.copytree(package, copies / package.name, ignore=BUILT)
    sources = [str(copies / package.name) for package in packages]
    if uv := find_uv():
        # In parallel, because compiling the kernels takes longest.
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
    """Like `session.install`, but with uv if it is available, which is several times as fast."""
    uv = None if session.venv_backend == "uv" else find_uv()
    if uv:
        session.run(uv, "pip", "install", "--quiet", *arguments, external=True)
    else:
        session.install(*arguments)


@functools.cache
def find_uv() -> str | None:
    """The uv on PATH, else one that pip installs into `.cache`; None if pip cannot install it."""
    folder = ROOT / ".cache" / "uv"
    places = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent), str(folder / "bin")]
    found = shutil.which("uv", path=os.pathsep.join(places))
    if found is None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "uv"]
        subprocess.run(pip, check=False)
        found = shutil.which("uv", path=str(folder / "bin"))
        if found is None:
            print("uv is not available: using pip, which takes longer", file=sys.stderr)
    return found


def tell_uv_what_pip_knows() -> None:
    """Pass pip's index and certificate settings to uv, unless uv has its own."""
    if any(name in os.environ for name in ("UV_INDEX", "UV_DEFAULT_INDEX")):
        return
    pip = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(pip, capture_output=True, text=True, check=False).stdout
    # Later lines override earlier ones: pip lists general files first, the environment last.
    settings = dict(re.findall(r"^(?:[\w-]+|:env:)\.([\w-]+)='(.*)'$", listing, flags=re.MULTILINE))
    names = {
        "UV_DEFAULT_INDEX": settings.get("index-url"),
        "UV_INDEX": settings.get("extra-index-url"),
        "UV_CONSTRAINT": settings.get("constraint"),
        "UV_FIND_LINKS": ",".join(settings.get("find-links", "").split()),
        "SSL_CERT_FILE": settings.get("cert"),
        "UV_INDEX_STRATEGY": "unsafe-best-match",  # pip's strategy: all indexes are equal
    }
    for name, value in names.items():
        if value:
            os.environ.setdefault(name, value)
