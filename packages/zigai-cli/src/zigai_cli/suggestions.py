"""Completions of a shell: models, backends, and values of options.

Nothing heavy is imported, since every press of the Tab key starts a process.
"""

from __future__ import annotations

import os
from pathlib import Path

from zigai_cli.terminal.output import clean

MODEL_SUFFIXES = (".gguf", ".safetensors")


def models(incomplete: str) -> list[str]:
    """Model files whose paths begin with `incomplete`, and names of models that do.

    Empty if a folder's path does and no name: the shell then completes paths itself, and adds no space after
    a folder.
    """
    names = [] if set(incomplete) & {os.sep, "."} else model_names(incomplete)
    given = Path(incomplete).expanduser()
    folder = given if incomplete.endswith(os.sep) else given.parent
    written = incomplete[: incomplete.rfind(os.sep) + 1]
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if (written + entry.name).startswith(incomplete)]
    except OSError:
        return names
    if not incomplete[len(written) :].startswith("."):
        found = [entry for entry in found if not entry.name.startswith(".")]
    folders = [f"{written}{entry.name}{os.sep}" for entry in found if entry.is_dir()]
    files = [written + entry.name for entry in found if entry.name.lower().endswith(MODEL_SUFFIXES)]
    if folders and not names:
        return []
    return [*names, *sorted([*folders, *files])]


def model_names(incomplete: str) -> list[str]:
    """Names of models that begin with `incomplete`. A shell breaks words at a colon, so none after one."""
    if ":" in incomplete:
        return []
    return [name for name in named_models() if name.startswith(incomplete)]


def conversations(incomplete: str) -> list[tuple[str, str]]:
    """Numbers of stored conversations, with their titles."""
    from zigai_cli.history import opening
    from zigai_cli.history.store import Store, StoreError

    try:
        with Store(opening.path(), create=False) as store:
            found = store.entries(50)
    except StoreError:
        return []
    return [(str(each.id), clean(each.title)) for each in found if str(each.id).startswith(incomplete)]


def named_models() -> list[str]:
    """The names that `--model` takes besides paths: aliases, and models that were downloaded."""
    from zigai_core.api.registry import Plugins
    from zigai_core.api.sources import ALIAS, make_source, sources

    plugins = Plugins.installed()
    try:
        offered = [offer.name for offer in make_source(ALIAS, plugins).offered()]
        stored = [model.name for source in sources(plugins).values() for model in source.stored()]
    except Exception:  # of a plugin: reported where a model is chosen
        return []
    return list(dict.fromkeys([*offered, *stored]))


def backends(incomplete: str) -> list[str]:
    """The installed backends, and `auto`."""
    from zigai_core.api.registry import Plugins

    names = ["auto", *Plugins.installed().backends]
    return [name for name in names if name.startswith(incomplete)]


def cache_types(incomplete: str) -> list[str]:
    """The storage types of the KV cache."""
    return [name for name in ("F32", "F16", "Q8_0") if name.startswith(incomplete)]


def quantized_types(incomplete: str) -> list[str]:
    """The types that a model can be quantised to while it is loaded."""
    from zigai_core.contracts.load_options import QUANTIZED

    return [name for name in QUANTIZED if name.startswith(incomplete)]


def unread(incomplete: str) -> list[str]:
    """The values of `--unread`."""
    return [name for name in ("error", "warn") if name.startswith(incomplete)]


OF_FIELDS = {"backend": backends, "kv_dtype": cache_types, "quantize": quantized_types, "unread": unread}
"""By field of `LoadOptions`, what the shell offers for its option."""
