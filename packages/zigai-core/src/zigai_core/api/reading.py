"""From a path to a descriptor, by the one registered format that recognises it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from zigai_core.api.calling import call
from zigai_core.api.installed import report
from zigai_core.api.registry import Plugins
from zigai_core.api.stored_types import complete
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, PluginError
from zigai_core.contracts.plugins import FormatReader

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read(path: str | Path, *, plugins: Plugins | None = None) -> ModelDescriptor:
    """The descriptor of the model at `path`: a file, one part of several, or a folder.

    `FormatError` for what is no regular file or folder, cannot be read, or is of no installed format. A
    format that fails is passed over, unless no other one recognises the path.
    """
    plugins = plugins or Plugins.installed()
    path = Path(path)
    head = _glance(path)
    failures: list[str] = []
    matches = dict(_recognising(path, plugins, failures))
    if len(matches) > 1:
        names = " and ".join(sorted(matches))
        what = "folder" if head is None else "file"
        raise PluginError(f"{path}: the formats {names} both claim this {what}: uninstall one")
    if not matches:
        raise FormatError(_unrecognised(path, head, plugins, failures))
    name, reader = matches.popitem()
    descriptor = call(f"{path}: the file format {name!r}", partial(reader.read, path))
    return complete(descriptor, plugins.dtypes)


def _glance(path: Path) -> bytes | None:
    """The first bytes of a regular file; None for a folder. `FormatError` for whatever else is there.

    What it is is asked before it is opened: opening a pipe would wait for somebody to write to it.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            next(path.iterdir(), None)
            return None
        if not stat.S_ISREG(mode):
            kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "neither file nor folder")
            raise FormatError(f"{path}: is {kind}: name a model's file or folder")
        with path.open("rb") as file:
            head = file.read(4)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise FormatError(f"{path}: cannot be read: {reason}") from error
    if not head:
        raise FormatError(f"{path}: the file is empty")
    return head


def _recognising(path: Path, plugins: Plugins, failures: list[str]) -> Iterator[tuple[str, FormatReader]]:
    """The formats that claim the path; one that fails is reported, and what it said put into `failures`."""
    for name in plugins.formats:
        try:
            reader = call(f"the file format {name!r}", plugins.formats.get(name))
            if call(f"the file format {name!r}", partial(reader.recognises, path)):
                yield name, reader
        except Exception as error:  # one format's fault must not keep the others from their files
            failures.append(str(error))
            report(f"passed over: {error}")


def _unrecognised(path: Path, head: bytes | None, plugins: Plugins, failures: list[str]) -> str:
    installed = ", ".join(plugins.formats) or "none"
    if head is None:
        message = (
            f"{path}: a folder, and no installed format ({installed}) reads a folder like this one: "
            "name the model's file in it"
        )
    else:
        message = (
            f"{path}: not a model file of an installed format ({installed}): at offset 0 it begins with "
            f"{head!r}"
        )
    package = plugins.formats.hint("gguf") if head == b"GGUF" and "gguf" not in plugins.formats else ""
    if package:
        message += f". Install the one that reads it with: pip install --upgrade {package}"
    elif not plugins.formats:
        message += ". Install a package with a format, or zigai, which brings some"
    return ". ".join([message, *(f"Passed over: {failure}" for failure in failures)])
