"""Requirements on every distribution, checked in the sources: versions, ranges, typing marker, texts."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
PROJECTS: dict[str, dict[str, Any]] = {
    path.name: tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for path in PACKAGES
}
GROUPS = ("formats", "architectures", "tokenizers", "backends", "samplers", "chat_templates", "commands")


def release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_has_all_required_files(package: Path) -> None:
    module = package / "src" / package.name.replace("-", "_")
    for part in (
        module / "__init__.py",
        module / "py.typed",
        package / "README.md",
        package / "CHANGELOG.md",
    ):
        assert part.is_file(), f"{part.relative_to(ROOT)} is missing"
    assert PROJECTS[package.name]["requires-python"] == ">=3.11"
    assert PROJECTS[package.name]["license"] == "Apache-2.0"
    assert len((package / "README.md").read_text(encoding="utf-8").splitlines()) > 5, (
        "the README must describe the package"
    )


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_newest_version_in_the_changelog_is_the_packages(package: Path) -> None:
    text = (package / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d+\.\d+\.\d+)", text, flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECTS[package.name]["version"]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_sibling_ranges_include_the_present_version_and_exclude_the_next_minor(package: Path) -> None:
    for line in PROJECTS[package.name]["dependencies"]:
        parts = re.fullmatch(r"(zigai[\w-]*)>=(\d+\.\d+),<(\d+\.\d+)", line)
        if not line.startswith("zigai"):
            continue
        assert parts is not None, f"{package.name}: write {line!r} as a range such as zigai-core>=0.1,<0.2"
        name, low, high = parts[1], release(parts[2]), release(parts[3])
        present = release(PROJECTS[name]["version"])
        assert low <= present[:2] < high, f"{package.name} requires {line}, but {name} is at {present}"
        assert high == (low[0], low[1] + 1), f"{package.name}: {line} spans more than one minor version"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_the_installed_version_is_the_one_in_the_tree(package: Path) -> None:
    assert version(package.name) == PROJECTS[package.name]["version"]


def test_every_entry_point_can_be_loaded() -> None:
    for group in GROUPS:
        for entry in entry_points(group=f"zigai.{group}"):
            assert entry.load() is not None, f"{entry.group}: {entry.name} = {entry.value}"


def test_no_entry_point_name_is_declared_twice() -> None:
    for group in GROUPS:
        names = [entry.name for entry in entry_points(group=f"zigai.{group}")]
        assert len(names) == len(set(names)), f"zigai.{group}: {names}"
