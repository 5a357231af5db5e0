"""The packages that provide plugins, by the names under which these are registered."""

from __future__ import annotations

EVERYTHING = "zigai"
"""The package that depends on all others."""


def provider(group: str, name: str) -> str:
    """The distribution that registers `name` in `group`, else that which a hint names, else `EVERYTHING`."""
    from zigai_core.api.registry import Plugins

    registry = next(each for each in Plugins.installed().registries() if each.group == group)
    owners = [entry.distribution for entry in registry.entries() if entry.name == name]
    return next(filter(None, owners), "") or registry.hint(name) or EVERYTHING


def oracle_extra(*plugins: tuple[str, str]) -> str:
    """The line of pyproject.toml with what recording an oracle needs besides transformers: a list.

    `plugins`: group and name of each.
    """
    packages = dict.fromkeys(["torch>=2.4", "transformers>=5", *(provider(*each) for each in plugins)])
    listed = ", ".join(f'"{each}"' for each in packages)
    return f"oracle = [{listed}]\n"
