"""Refuses names in registries that an installed package has: two packages cannot have the same."""

from __future__ import annotations

from zigai_cli.failure import InputError


def refuse_claimed(group: str, name: str, advice: str) -> None:
    """Raises `InputError`, with `advice`, if an installed package, or core, registers `name` in `group`."""
    from zigai_core.api.registry import Plugins

    registry = next(each for each in Plugins.installed().registries() if each.group == group)
    for entry in registry.entries():
        if entry.name == name:
            owner = f"{entry.distribution} {entry.version}".strip() or "zigai-core"
            raise InputError(
                f"the name {name!r} in {group} is that of {owner}, and two packages that register one name "
                f"are an error: {advice}"
            )
