"""Packages with a format or a sampler step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zigai_cli.new.naming import PackageName
from zigai_cli.new.package import entry_point, package_files


@dataclass(frozen=True)
class SmallPackage:
    """The files of a package by path, and what it registers under which name."""

    noun: str
    group: str
    entry: str
    files: Mapping[str, str]


def format_package(name: PackageName) -> SmallPackage:
    """A package with the format NAME, whose files have the suffix `.NAME`."""
    class_name = f"{name.class_name}Format"
    values = {
        "entry": name.name,
        "description": f"The model format {name.name} for ZigAI.",
        "format_class": class_name,
        "magic": f"{name.name.upper()} 1\\n",
        "extras": "",
        "entry_points": entry_point("zigai.formats", name.name, f"{name.module}:{class_name}"),
    }
    files = package_files(["format"], name, values, defined=[class_name])
    return SmallPackage("the format", "zigai.formats", name.name, files)


def sampler_package(name: PackageName) -> SmallPackage:
    """A package with a sampler step, whose name has underscores, as those of core's steps."""
    entry = name.function
    values = {
        "entry": entry,
        "description": f"The sampler step {entry} for ZigAI.",
        "extras": "",
        "entry_points": entry_point("zigai.samplers", entry, f"{name.module}:{name.function}"),
    }
    return SmallPackage("the sampler step", "zigai.samplers", entry, package_files(["sampler"], name, values))


KINDS: Mapping[str, Callable[[PackageName], SmallPackage]] = {
    "format": format_package,
    "sampler": sampler_package,
}
"""By command, the function that makes its package."""
