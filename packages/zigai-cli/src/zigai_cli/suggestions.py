"""What a shell offers while a command is typed: models, backends, and values of options.

Nothing heavy is imported, since every press of the Tab key starts a process.
"""

from __future__ import annotations

import os
from pathlib import Path

MODEL_SUFFIXES = (".gguf", ".safetensors")


def models(incomplete: str) -> list[str]:
    """Model files whose paths begin with `incomplete`.

    None if a folder's path does: the shell then completes paths itself, and adds no space after a folder.
    """
    given = Path(incomplete).expanduser()
    folder = given if incomplete.endswith(os.sep) else given.parent
    written = incomplete[: incomplete.rfind(os.sep) + 1]
    found = []
    try:
        for entry in os.scandir(folder):
            shown = written + entry.name
            hidden = entry.name.startswith(".") and not incomplete[len(written) :].startswith(".")
            if hidden or not shown.startswith(incomplete):
                continue
            if entry.is_dir():
                return []
            if entry.name.lower().endswith(MODEL_SUFFIXES):
                found.append(shown)
    except OSError:
        return []
    return sorted(found)


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
