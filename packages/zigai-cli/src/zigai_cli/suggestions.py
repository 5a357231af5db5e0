"""Completions of a shell: models, backends, and values of options.

Nothing heavy is imported, since every press of the Tab key starts a process.
"""

from __future__ import annotations

import os
from pathlib import Path

MODEL_SUFFIXES = (".gguf", ".safetensors")


def models(incomplete: str) -> list[str]:
    """Model files whose paths begin with `incomplete`.

    Empty if a folder's does: the shell then completes paths itself, and adds no space after a folder.
    """
    given = Path(incomplete).expanduser()
    folder = given if incomplete.endswith(os.sep) else given.parent
    written = incomplete[: incomplete.rfind(os.sep) + 1]
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if (written + entry.name).startswith(incomplete)]
        if not incomplete[len(written) :].startswith("."):
            found = [entry for entry in found if not entry.name.startswith(".")]
        if any(entry.is_dir() for entry in found):
            return []
    except OSError:
        return []
    names = [written + entry.name for entry in found]
    return sorted(name for name in names if name.lower().endswith(MODEL_SUFFIXES))


def named_models() -> list[str]:
    """The names that `--model` takes besides paths: aliases, and models that were downloaded."""
    from zigai_core.api.registry import Plugins
    from zigai_core.api.sources import ALIAS, make_source, sources

    plugins = Plugins.installed()
    if ALIAS not in plugins.sources:
        return []
    offered = [offer.name for offer in make_source(ALIAS, plugins).offered()]
    stored = [model.name for source in sources(plugins).values() for model in source.stored()]
    return list(dict.fromkeys([*offered, *stored]))


def backends(incomplete: str) -> list[str]:
    """The installed backends, and `auto`."""
    from zigai_core.api.registry import Plugins

    names = ["auto", *Plugins.installed().backends]
    return [name for name in names if name.startswith(incomplete)]


def cache_types(incomplete: str) -> list[str]:
    """The storage types of the KV cache."""
    return [name for name in ("F32", "F16", "Q8_0") if name.startswith(incomplete)]


def unread(incomplete: str) -> list[str]:
    """The values of `--unread`."""
    return [name for name in ("error", "warn") if name.startswith(incomplete)]


OF_FIELDS = {"backend": backends, "kv_dtype": cache_types, "unread": unread}
"""By field of `LoadOptions`, what the shell offers for its option."""
