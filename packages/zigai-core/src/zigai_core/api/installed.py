"""Entry points of the zigai groups, found in installed distributions without importing plugins.

Entry points are specified in https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from zigai_core.contracts.errors import PluginError
from zigai_core.contracts.huggingface import HuggingFaceNames

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

NOUNS: Mapping[str, str] = {
    "zigai.formats": "file format",
    "zigai.architectures": "architecture",
    "zigai.tokenizers": "tokenizer",
    "zigai.backends": "backend",
    "zigai.samplers": "sampler step",
    "zigai.chat_templates": "chat template",
    "zigai.commands": "command",
    "zigai.models": "bundled model",
    "zigai.sources": "model source",
    "zigai.dtypes": "storage type",
    "zigai.huggingface": "family of Hugging Face",
    "zigai.hints": "hint",
}
"""The entry-point groups, with the noun for an entry of each in error texts."""


@dataclass(frozen=True)
class Entry:
    """Description of a plugin. `distribution` and `version` are empty if it was passed as an object."""

    name: str
    value: str
    distribution: str = ""
    version: str = ""


@dataclass(frozen=True)
class Installed:
    """An entry point that an installed distribution declares; nothing is imported until `load`."""

    group: str
    entry: Entry
    point: EntryPoint = field(repr=False)

    def load(self) -> object:
        """Imports the plugin.

        Raises `PluginError` if the import fails, with the cause, or if the object is not of its group's kind.
        """
        entry = self.entry
        origin = (
            f"the {NOUNS[self.group]} {entry.name!r} ({entry.value}) of {entry.distribution} {entry.version}"
        )
        try:
            plugin: object = self.point.load()
        except (Exception, SystemExit) as cause:  # a plugin may fail in any way while it is imported
            raise PluginError(
                f"{origin} cannot be loaded: {type(cause).__name__}: {cause}. "
                f"Reinstall it, or remove it with: pip uninstall {entry.distribution}"
            ) from cause
        required = wrong_kind(self.group, plugin)
        if required:
            raise PluginError(f"{origin} must be {required}, but is of type {type(plugin).__name__}")
        return plugin


def wrong_kind(group: str, plugin: object) -> str:
    """The kind of object that this group requires if `plugin` is not one; empty if it is."""
    if group == "zigai.chat_templates":
        return "" if isinstance(plugin, str) else "text"
    if group == "zigai.hints":
        return "" if isinstance(plugin, Mapping) else "a mapping"
    if group == "zigai.huggingface":
        return "" if isinstance(plugin, HuggingFaceNames) else "HuggingFaceNames"
    return "" if callable(plugin) else "callable"


@cache
def scan_once() -> tuple[Installed, ...]:
    """`scan` of `sys.path`, cached."""
    return scan(None)


def scan(path: Sequence[str] | None) -> tuple[Installed, ...]:
    """Entry points of the zigai groups of every distribution on `path`; None is `sys.path`.

    Distributions with unreadable metadata are skipped. `importlib.metadata.entry_points` would parse those of
    every distribution, of which most have none of these groups.
    """
    from importlib import metadata  # takes 20 ms, which not every program needs to spend

    seen: set[str] = set()
    found: list[Installed] = []
    for distribution in metadata.distributions() if path is None else metadata.distributions(path=list(path)):
        try:
            declared = distribution.read_text("entry_points.txt")
        except (OSError, UnicodeDecodeError):
            continue  # it may have nothing to do with zigai, so no warning
        if not declared or not re.search(r"^\s*\[\s*zigai\.", declared, re.MULTILINE):
            continue
        try:
            fields: Any = distribution.metadata or {}
            points = list(distribution.entry_points)
        except Exception:  # the parser raises various exceptions for invalid lines
            report(f"the entry points of {declared_by(distribution)} cannot be read: reinstall it")
            continue
        name = fields.get("Name") or "unknown distribution"
        # An editable install may be found twice, as egg-info and dist-info; the first one is imported.
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in seen:
            continue
        seen.add(key)
        version = fields.get("Version") or "of unknown version"
        for point in points:
            if point.group in NOUNS:
                entry = Entry(point.name, point.value, name, version)
                found.append(Installed(point.group, entry, point))
    return tuple(found)


def declared_by(distribution: Any) -> str:
    """The distribution's name, or a substitute if its metadata is broken."""
    try:
        return str(distribution.metadata["Name"] or "an unknown distribution")
    except Exception:
        return "an unknown distribution"


@cache
def report(problem: str) -> None:
    """Logs a warning, once per text."""
    import logging  # takes some ms, which few programs need to spend

    logging.getLogger("zigai").warning("%s", problem)
