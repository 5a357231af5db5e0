"""Entry points that installed distributions declare in our groups, found without importing any of them.

Where entry points come from: https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from zigai_core.contracts.errors import PluginError

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
    "zigai.dtypes": "storage type",
    "zigai.hints": "hint",
}
"""The groups, and what people call an entry of each."""


@dataclass(frozen=True)
class Entry:
    """One plugin as `zig-ai plugins` lists it; by hand, it has no `distribution` and no `version`."""

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
        """Import it. `PluginError` with the cause where that fails, or it is not of its group's kind."""
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
        wanted = wrong_kind(self.group, plugin)
        if wanted:
            raise PluginError(f"{origin} must be {wanted}, but is of type {type(plugin).__name__}")
        return plugin


def wrong_kind(group: str, plugin: object) -> str:
    """What an entry of this group must be, if this one is not; else empty."""
    if group == "zigai.chat_templates":
        return "" if isinstance(plugin, str) else "text"
    if group == "zigai.hints":
        return "" if isinstance(plugin, Mapping) else "a mapping"
    return "" if callable(plugin) else "callable"


@cache
def scan_once() -> tuple[Installed, ...]:
    """What is declared on `sys.path`, looked for once."""
    return scan(None)


def scan(path: Sequence[str] | None) -> tuple[Installed, ...]:
    """The entry points of our groups, of every distribution on `path`.

    `importlib.metadata.entry_points` does the same but parses every distribution's; most have none of ours.
    """
    from importlib import metadata  # costs 20 ms, and a program may not come here

    seen: set[str] = set()
    found: list[Installed] = []
    for distribution in metadata.distributions() if path is None else metadata.distributions(path=list(path)):
        try:
            declared = distribution.read_text("entry_points.txt")
        except (OSError, UnicodeDecodeError):
            continue  # somebody else's broken metadata is not ours to complain about
        if not declared or not re.search(r"^\s*\[\s*zigai\.", declared, re.MULTILINE):
            continue
        try:
            fields: Any = distribution.metadata or {}
            points = list(distribution.entry_points)
        except Exception:  # a line that is no entry point, say: the parser fails in many ways
            report(f"the entry points of {declared_by(distribution)} cannot be read: reinstall it")
            continue
        name = fields.get("Name") or "unknown distribution"
        # An editable install may be there twice, as egg-info and dist-info; the first is what is imported.
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
    """A name for a distribution whose metadata may be broken."""
    try:
        return str(distribution.metadata["Name"] or "an unknown distribution")
    except Exception:
        return "an unknown distribution"


@cache
def report(problem: str) -> None:
    """Tell once, as a warning in the log, that a plugin is passed over and why."""
    import logging  # costs some ms, and hardly any program comes here

    logging.getLogger("zigai").warning("%s", problem)
