"""Files that a command writes: checked before the work, and replaced at once."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import typer


def replace(file: Path, content: bytes) -> None:
    """Give a file this content at once, and make its folder if it is missing. Raises `OSError`.

    A process that is killed leaves the old file or the new one. A new file is readable by the user alone;
    another keeps its permissions. A link stays one.
    """
    file = Path(os.path.realpath(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=file.parent, prefix=file.name, suffix=".new")
    written = Path(name)
    try:
        with os.fdopen(number, "wb") as new:
            new.write(content)
            new.flush()
            os.fsync(new.fileno())
        if file.exists():
            written.chmod(file.stat().st_mode & 0o777)
        written.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            written.unlink()
        raise


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Give an `OSError` that comes up while a file is written, such as a full disk, the file's name."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def check_folder(option: str, path: Path) -> None:
    """Raise `typer.BadParameter` if the folder that a file is to be written to does not exist."""
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"{option} {path}: there is no such folder")
