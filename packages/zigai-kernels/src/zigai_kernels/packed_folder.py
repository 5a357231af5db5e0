"""A folder of packed weights, whose size is bounded."""

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
"""What every file of packed weights begins with, in all versions."""

LIMIT_VARIABLE = "ZIGAI_PACKED_CACHE_LIMIT"
DEFAULT_LIMIT = 64 << 30

ABANDONED_SECONDS = 3600.0
"""Age of a file under construction that nobody has locked, after which its writer has died."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LIMIT = re.compile(r"\s*(\d{1,18})\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE | re.ASCII)
_WHOLE = re.compile(r"[0-9a-f]{32}\.packed")
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.packed\.[0-9a-f]{8}")


@dataclass(frozen=True)
class PackedFolder:
    """The files of packed weights in a folder: `limit` bytes at most, the ones unused for longest out first.

    Only regular files that are named and begin as `PackedFile` does it are ever deleted, and none that a
    process maps: it holds a lock on it (`flock`). A file that is larger than the limit stays while it is
    in use. Time of last use is the file's access time, which `use` sets on every file system that has one.
    """

    path: Path
    limit: int = DEFAULT_LIMIT

    def make_room(self, nbytes: int = 0) -> None:
        """Delete files until those that are left, with `nbytes` more, are within the limit."""
        found = self._files()
        total = sum(size for _, size, _ in found) + nbytes
        for _, size, path in sorted(found):
            if total <= self.limit:
                break
            if self._delete_unused(path):
                total -= size

    @staticmethod
    def use(file: IO[bytes], found: os.stat_result) -> None:
        """Record that an open file is used now. `found`: its state, whose other times stay."""
        with suppress(OSError):  # another user's file, or a read-only disk: it counts as used when last read
            os.utime(file.fileno(), ns=(time.time_ns(), found.st_mtime_ns))

    def delete(self, path: Path) -> None:
        """Delete a file that is no good; what cannot be deleted is left to whoever replaces it."""
        with suppress(OSError):
            path.unlink()

    def _files(self) -> list[tuple[int, int, Path]]:
        """Time of last use, size and path of each file of ours, unfinished ones only if their writer died."""
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
        """Whether the file was ours, was used by no process, and is deleted."""
        try:
            with open(path, "rb", opener=without_waiting) as file:
                if file.read(len(MAGIC)) != MAGIC:
                    return False
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        except OSError:  # in use, or gone, or another user's
            return False
        logging.getLogger("zigai").info(
            "%s: deleted, unused for longest, to keep the folder within %d bytes (%s)",
            path,
            self.limit,
            LIMIT_VARIABLE,
        )
        return True


def without_waiting(path: str, flags: int) -> int:
    """Opens a path without waiting for whoever may write to it, should it be a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def folder_limit() -> int:
    """Bytes that `ZIGAI_PACKED_CACHE_LIMIT` allows a folder, else 64 GiB. `UnsupportedError` for no size.

    A whole number of bytes, or of K, M, G or T (powers of 1,024): `20G`.
    """
    value = os.environ.get(LIMIT_VARIABLE)
    if not value:
        return DEFAULT_LIMIT
    match = _LIMIT.fullmatch(value)
    if match is None:
        raise UnsupportedError(
            f"{LIMIT_VARIABLE}={value[:40]!r}: must be a number of bytes, or of K, M, G or T: 20G"
        )
    return int(match[1]) * _UNITS[match[2].upper()]
