"""Reads the descriptor of a model with the one installed format that recognises its path."""

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
from zigai_core.contracts.errors import FormatError, MissingFileError, PluginError, quote
from zigai_core.contracts.plugins import FormatReader

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read(path: str | Path, *, plugins: Plugins | None = None) -> ModelDescriptor:
    """Returns the descriptor of the model at `path`: a file, one part of several, or a folder.

    `~` is the user's home folder. Raises `MissingFileError`, which is a `FileNotFoundError`, if nothing is
    there, `FormatError` if the path is neither a regular file nor a folder, cannot be read, or is of no
    installed format, and `PluginError` if two formats claim it or one fails unexpectedly while it reads. A
    format that fails earlier, in its class or in `recognises`, is skipped with a warning in the log.
    """
    plugins = plugins or Plugins.installed()
    path = _expanded(Path(path))
    head = _first_bytes(path)
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


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # no such user
        raise MissingFileError(f"{path}: there is no such user's folder") from None


def _first_bytes(path: Path) -> bytes | None:
    """The first four bytes of a regular file; None for a folder. Raises `FormatError` for anything else.

    The kind of file is checked before opening it, because opening a pipe blocks until it has a writer.
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
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such file or folder") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise FormatError(f"{path}: cannot be read: {reason}") from error
    if not head:
        raise FormatError(f"{path}: the file is empty")
    return head


def _recognising(path: Path, plugins: Plugins, failures: list[str]) -> Iterator[tuple[str, FormatReader]]:
    """The formats that claim the path. One that fails is reported, and its error appended to `failures`."""
    for name in plugins.formats:
        try:
            reader = call(f"the file format {name!r}", plugins.formats.get(name))
            if call(f"the file format {name!r}", partial(reader.recognises, path)):
                yield name, reader
        except Exception as error:  # a faulty format must not prevent others from reading their files
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
            f"{path}: not a model file of an installed format ({installed}): its first bytes are "
            f"{quote(head.decode('latin-1'))}"
        )
    package = plugins.formats.hint("gguf") if head == b"GGUF" and "gguf" not in plugins.formats else ""
    if package:
        message += f". Install the format that reads it with: pip install --upgrade {package}"
    elif not plugins.formats:
        message += ". Install a package with a format, or zigai, which includes some"
    return ". ".join([message, *(f"Passed over: {failure}" for failure in failures)])
