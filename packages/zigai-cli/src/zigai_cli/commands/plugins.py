"""`zig-ai plugins`: lists every registry with its entries and their packages."""

from __future__ import annotations

import sys
from typing import Any

import typer

from zigai_cli import memory_limit
from zigai_cli.measure.installed import rows
from zigai_cli.options import Json
from zigai_cli.terminal.output import table


def own_commands(context: typer.Context) -> frozenset[str]:
    """Names of the built-in commands, which a plugin cannot replace."""
    root: Any = context.find_root().command
    return frozenset(root.list_commands(context))


def plugins(context: typer.Context, as_json: Json = False) -> None:
    """List installed plugins and the packages that provide them.

    Every plugin is imported; one that cannot be used is listed with its error.
    """
    memory_limit.check()
    from zigai_core.api.registry import Plugins

    own = own_commands(context)
    registries = Plugins.installed().registries()
    if as_json:
        import json

        found = {registry.group: rows(registry, own) for registry in registries}
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
            for row in rows(registry, own)
        ]
        if listed:
            table(listed)
        else:
            sys.stdout.write("  none\n")
