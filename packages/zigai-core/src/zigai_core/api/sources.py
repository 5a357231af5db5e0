"""Models by name: `PREFIX:REST` goes to the source of that prefix, a bare word to the source `alias`."""

from __future__ import annotations

import difflib
import logging
import re
from functools import partial
from pathlib import Path

from zigai_core.api.calling import call
from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import DownloadError, MissingFileError, PluginError, escape, quote
from zigai_core.contracts.sources import DownloadProgress, Offer, Source, SuggestingSource

LOG = logging.getLogger("zigai")

ALIAS = "alias"
"""The source of bare words."""

_PREFIXED = re.compile(r"([A-Za-z][A-Za-z0-9_-]+):(.+)", re.DOTALL)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_DEEPEST = 8


def locate(
    name: str | Path,
    *,
    plugins: Plugins | None = None,
    progress: DownloadProgress | None = None,
    pull: bool = True,
) -> Path:
    """Return the path of the model of this name; downloads it if it is not on this machine.

    A `Path`, and a name that is an existing file or folder, is itself. With `pull=False` a model that is not
    here raises `DownloadError`. An unknown prefix raises `UnsupportedError`, which names the package to
    install; a missing file whose name is like that of an offered model, or one that a source suggests another
    for, raises `MissingFileError`, which names that.
    """
    plugins = plugins or Plugins.installed()
    found = resolve(name, plugins)
    if isinstance(found, Path):
        return found
    full, source, rest = found
    what = f"the model source {full.partition(':')[0]!r}"
    path = call(what, partial(source.find, rest))
    if path is None and not pull:
        asked = escape(str(name))
        begun = any(not model.complete for model in call(what, partial(source.stored, rest)))
        state = "its download is unfinished: go on" if begun else "not on this machine: download it"
        raise DownloadError(f"{asked}: {state} with: zig-ai pull {asked}")
    if path is None:
        if progress is None:
            LOG.warning("%s is not on this machine: downloading it", escape(str(name)))
        path = call(what, partial(source.pull, rest, progress))
    return path


def resolve(name: str | Path, plugins: Plugins) -> Path | tuple[str, Source, str]:
    """Return a path as it is, any other name as (the full name behind all aliases, its source, the rest)."""
    for _ in range(_DEEPEST):
        if isinstance(name, Path) or _exists(name):
            return Path(name)
        match = _PREFIXED.fullmatch(name)
        if match:
            prefix, rest = match[1], match[2]
        elif _WORD.fullmatch(name) and ALIAS in plugins.sources:
            prefix, rest = ALIAS, name
        else:
            _check_near(name, plugins)
            _check_suggested(name, plugins)
            return Path(name)
        source = make_source(prefix, plugins)
        target = call(f"the model source {prefix!r}", partial(source.target, rest))
        if target is None:
            return f"{prefix}:{rest}", source, rest
        name = target
    raise DownloadError(f"{quote(str(name))}: aliases that stand for each other: correct models.toml")


def make_source(prefix: str, plugins: Plugins) -> Source:
    """Return the source of this prefix. Raises `UnsupportedError` or `PluginError` as `Registry.get` does."""
    source = call(f"the model source {prefix!r}", plugins.sources.get(prefix))
    if not isinstance(source, Source):
        raise PluginError(f"the model source {prefix!r} lacks methods of a Source: update its package")
    return source


def sources(plugins: Plugins) -> dict[str, Source]:
    """All sources that can be used, by prefix."""
    return {name: make_source(name, plugins) for name, _ in plugins.sources.usable()}


def offers(plugins: Plugins) -> list[Offer]:
    """The models that all sources recommend."""
    return [
        offer
        for prefix, source in sources(plugins).items()
        for offer in call(f"the model source {prefix!r}", source.offered)
    ]


def _exists(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, no such user
        return False


def _check_near(name: str, plugins: Plugins) -> None:
    """Raise `MissingFileError` for a missing file in no folder, if an offered model has a name like it."""
    if "/" in name or "\\" in name or not len(plugins.sources):
        return
    near = difflib.get_close_matches(name, {offer.name: None for offer in offers(plugins)}, n=3)
    if near:
        raise MissingFileError(
            f"{name}: there is no such file or folder; did you mean {' or '.join(near)}? "
            "zig-ai list --available shows the models that have names"
        )


def _check_suggested(name: str, plugins: Plugins) -> None:
    """Raise `MissingFileError` for a name that a source knows as one of its own, without the prefix.

    Not if its first part is a folder here: then a path is meant.
    """
    if _exists(re.split(r"[/\\]", name)[0] or name[:1]):
        return
    for prefix, source in sources(plugins).items():
        if isinstance(source, SuggestingSource):
            meant = call(f"the model source {prefix!r}", partial(source.suggests, name))
            if meant is not None:
                raise MissingFileError(f"{escape(name)}: there is no such file or folder; {meant}")
