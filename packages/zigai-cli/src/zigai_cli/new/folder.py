"""Writes the folder of a new package: whole, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from zigai_cli.failure import InputError
from zigai_core.contracts.errors import quote


@contextmanager
def new_folder(into: Path, name: str) -> Iterator[Path]:
    """Gives a folder to write to, which becomes `into/name` if the block ends without an exception.

    Whatever happens before, nothing is left. Raises `InputError` if `into/name` exists, or if `into` is no
    folder or cannot be written to.
    """
    into = into.absolute()
    target = into / name
    _refuse_existing(target)
    try:
        into.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=into))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(
            f"{quote(str(into))}: the package cannot be written there: {reason}; choose another folder "
            "with --into"
        ) from error
    try:
        folder = draft / name  # mkdtemp's own folder is for its owner alone
        folder.mkdir()
        yield folder
        _refuse_existing(target)
        folder.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Writes texts, in UTF-8, and bytes, by path relative to `folder`."""
    for place, content in files.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


def _refuse_existing(target: Path) -> None:
    try:
        exists = target.exists() or target.is_symlink()
    except (OSError, ValueError):
        return  # the folder that it would be in cannot be used, which writing reports
    if exists:
        raise InputError(
            f"{quote(str(target))} exists already: rename or remove it, choose another name, or another "
            "folder with --into"
        )
