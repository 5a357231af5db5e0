"""`zig-ai plugins`: lists every registry with its entries and their packages."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from zigai_cli.options import Json
from zigai_cli.terminal.output import table

if TYPE_CHECKING:
    from zigai_core.api.installed import Entry
    from zigai_core.api.registry import Registry

OWN_COMMANDS = frozenset(
    {"bench", "chat", "generate", "inspect", "list", "plugins", "pull", "rm", "show", "tokenize", "version"}
)
"""Names of the built-in commands, which a plugin cannot replace."""


def plugins(as_json: Json = False) -> None:
    """List installed plugins and the packages that provide them.

    Every plugin is imported; one that cannot be used is listed with its error.
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
    """One row per entry point: name, value, distribution, version, and its conflict or error, if any.

    Imports every plugin of the registry.
    """
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
        return "CONFLICT: zig-ai has a command of this name, which is used"
    return (
        f"CONFLICT: {claims} packages provide this name, so none is used: uninstall all but one"
        if claims > 1
        else ""
    )
