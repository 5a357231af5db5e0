"""Installed packages of zigai, and the entry points of installed plugins."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zigai_core.api.installed import Entry
    from zigai_core.api.registry import Registry


def packages() -> dict[str, str]:
    """Versions of the installed zigai packages, by name."""
    from importlib import metadata

    found = {
        re.sub(r"[-_.]+", "-", name).lower(): distribution.version
        for distribution in metadata.distributions()
        # A distribution whose metadata is broken has no name.
        if (name := distribution.metadata["Name"]) and re.match(r"zigai\b", name, re.IGNORECASE)
    }
    return dict(sorted(found.items()))


def rows(registry: Registry[Any], own: frozenset[str]) -> list[dict[str, str]]:
    """One row per entry point: name, value, distribution, version, and its conflict or error, if any.

    `own` are the built-in commands. Imports every plugin of the registry.
    """
    entries = registry.entries()
    claims = Counter(entry.name for entry in entries)
    return [
        {
            "name": entry.name,
            "value": entry.value,
            "distribution": entry.distribution,
            "version": entry.version,
            "conflict": _conflict(registry.group, entry.name, claims[entry.name], own),
            "error": _problem(registry, entry),
        }
        for entry in entries
    ]


def _problem(registry: Registry[Any], entry: Entry) -> str:
    problem = registry.problem(entry)
    return f"FAILS: {problem}" if problem else ""


def _conflict(group: str, name: str, claims: int, own: frozenset[str]) -> str:
    if group == "zigai.commands" and name in own:
        return "CONFLICT: zig-ai has a command of this name, which is used"
    return (
        f"CONFLICT: {claims} packages provide this name, so none is used: uninstall all but one"
        if claims > 1
        else ""
    )
