"""A folder of files of packed weights, with a limit on its size."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from zigai_core.contracts.errors import UnsupportedError

MAGIC = b"ZIGAI packed"
"""The first bytes of every file of packed weights, in all versions."""

LIMIT_VARIABLE = "ZIGAI_PACKED_CACHE_LIMIT"
DEFAULT_LIMIT = 64 << 30

ABANDONED_SECONDS = 3600.0
"""Age from which an unfinished file that no process locks is deleted: its writer has died."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LIMIT = re.compile(r"\s*(\d{1,18})\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE | re.ASCII)
_WHOLE = re.compile(r"[0-9a-f]{32}\.packed")
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.packed\.[0-9a-f]{8}")


@dataclass(frozen=True)
class PackedFolder:
    """The files of packed weights in a folder: at most `limit` bytes, the least recently used deleted first.

    Deletes only regular files with the name and first bytes of a `PackedFile`, and none that a process maps,
    which holds a lock (`flock`) on it; so files in use may exceed the limit. The time of last use is the
    file's access time, which `use` sets.
    """

    path: Path
    limit: int = DEFAULT_LIMIT

    def make_room(self, nbytes: int = 0) -> None:
        """Delete files until the remaining ones and `nbytes` more are within the limit."""
        found = self._files()
        total = sum(size for _, size, _ in found) + nbytes
        for _, size, path in sorted(found):
            if total <= self.limit:
                break
            if self._delete_unused(path):
                total -= size

    @staticmethod
    def use(file: IO[bytes], found: os.stat_result) -> None:
        """Set an open file's access time to now; its modification time, of `found`, stays."""
        with suppress(OSError):  # another user's file or a read-only disk: the system's access time counts
            os.utime(file.fileno(), ns=(time.time_ns(), found.st_mtime_ns))

    def delete(self, path: Path) -> None:
        """Delete an unusable file. If that fails, it stays until it is replaced."""
        with suppress(OSError):
            path.unlink()

    def _files(self) -> list[tuple[int, int, Path]]:
        """Time of last use (ns), size (bytes) and path of each file; unfinished files only if abandoned."""
        found = []
        try:
            entries = list(os.scandir(self.path))
        except OSError:
            return []
        for entry in entries:
            unfinished = _UNFINISHED.fullmatch(entry.name)
            if not (unfinished or _WHOLE.fullmatch(entry.name)):
                continue
            try:
                state = entry.stat(follow_symlinks=False)
            except OSError:  # deleted by another process
                continue
            if stat.S_ISREG(state.st_mode) and not (
                unfinished and time.time() - state.st_mtime < ABANDONED_SECONDS
            ):
                used = 0 if unfinished else max(state.st_atime_ns, state.st_mtime_ns)
                found.append((used, state.st_size, Path(entry.path)))
        return found

    def _delete_unused(self, path: Path) -> bool:
        """Delete a file if it is a packed file that no process uses. True if it was deleted."""
        try:
            with open(path, "rb", opener=without_waiting) as file:
                if file.read(len(MAGIC)) != MAGIC:
                    return False
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        except OSError:  # in use, already deleted, or another user's
            return False
        logging.getLogger("zigai").info(
            "%s: deleted as the least recently used file, to keep the folder within %d bytes (%s)",
            path,
            self.limit,
            LIMIT_VARIABLE,
        )
        return True


def without_waiting(path: str, flags: int) -> int:
    """An opener for `open` that does not block on a pipe without a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def folder_limit() -> int:
    """The limit of a folder in bytes: `ZIGAI_PACKED_CACHE_LIMIT`, else `DEFAULT_LIMIT`.

    The variable is a whole number of bytes, or of K, M, G or T (powers of 1,024): `20G`. `UnsupportedError`
    for anything else.
    """
    value = os.environ.get(LIMIT_VARIABLE)
    if not value:
        return DEFAULT_LIMIT
    match = _LIMIT.fullmatch(value)
    if match is None:
        raise UnsupportedError(
            f"{LIMIT_VARIABLE}={value[:40]!r}: must be a number of bytes, or of K, M, G or T, such as 20G"
        )
    return int(match[1]) * _UNITS[match[2].upper()]
