"""`zig-ai plugins`: each registry, and who has registered what."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from zigai_cli.options import Json
from zigai_cli.terminal import table

if TYPE_CHECKING:
    from zigai_core.api.installed import Entry
    from zigai_core.api.registry import Registry

OWN_COMMANDS = frozenset({"bench", "chat", "generate", "inspect", "tokenize", "plugins", "version"})
"""Names of commands that a plugin cannot take."""


def plugins(as_json: Json = False) -> None:
    """List what is registered, and who has done so.

    Every plugin is imported for it: one that cannot be used is shown with what is wrong.
    """
    from zigai_core.api.registry import Plugins

    registries = Plugins.installed().registries()
    if as_json:
        import json

        found = {registry.group: rows(registry) for registry in registries}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for index, registry in enumerate(registries):
        sys.stdout.write("\n" * bool(index) + registry.group + "\n")
        listed = [
            [
                "  " + row["name"],
                f"{row['distribution']} {row['version']}",
                row["value"],
                row["conflict"] or row["error"],
            ]
            for row in rows(registry)
        ]
        if listed:
            table(listed)
        else:
            sys.stdout.write("  none\n")


def rows(registry: Registry[Any]) -> list[dict[str, str]]:
    """One for each claim: its name, origin, and what stands against it, if anything."""
    entries = registry.entries()
    claims = Counter(entry.name for entry in entries)
    return [
        {
            "name": entry.name,
            "value": entry.value,
            "distribution": entry.distribution,
            "version": entry.version,
            "conflict": _conflict(registry.group, entry.name, claims[entry.name]),
            "error": _problem(registry, entry),
        }
        for entry in entries
    ]


def _problem(registry: Registry[Any], entry: Entry) -> str:
    problem = registry.problem(entry)
    return f"FAILS: {problem}" if problem else ""


def _conflict(group: str, name: str, claims: int) -> str:
    if group == "zigai.commands" and name in OWN_COMMANDS:
        return "CONFLICT: zig-ai has a command of this name, which stands"
    return f"CONFLICT: {claims} packages claim this name, so none serves it" if claims > 1 else ""
