"""Files of packed weights, which later starts map into memory."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import mmap
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import IO

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import UnsupportedError
from zigai_kernels.packed_folder import MAGIC, PackedFolder, without_waiting

VERSION = b" 2\n"
"""The version of the file's format; it follows `MAGIC` in the first line."""

BLOCK_BYTES = 1 << 20
"""Bytes per checksum."""

Bytes = NDArray[np.uint8]
Checksums = Callable[[Bytes, int], NDArray[np.uint64]]
"""Computes the checksums of an array's blocks, given their size in bytes; the last block may be shorter."""


class UnwritableError(UnsupportedError):
    """A file of packed weights cannot be written."""


class PackedFile:
    """A file with the panels of one model's weights, in a `PackedFolder`.

    | part | bytes |
    |---|---|
    | head | `MAGIC`, `VERSION` and `contents` |
    | zeros | up to the next multiple of a page |
    | panels | `nbytes` |
    | checksums | uint64, little-endian, of each `BLOCK_BYTES` of the panels |

    `contents` describes the panels: which tensors of which model file, in which layout, at which offsets. The
    file's name is the hash of its head, so a changed model gets another file. A file is written under a
    temporary name, then renamed, and never changed afterwards. It may be deleted at any time: processes that
    map it keep its contents.
    """

    def __init__(self, folder: PackedFolder, contents: str, nbytes: int, checksums: Checksums) -> None:
        self._head = MAGIC + VERSION + contents.encode()
        self.path = folder.path / f"{hashlib.sha256(self._head).hexdigest()[:32]}.packed"
        self._start = -(-len(self._head) // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self._end = self._start + nbytes
        self._size = self._end + 8 * -(-nbytes // BLOCK_BYTES)
        self._folder = folder
        self._checksums = checksums

    def open(self) -> Bytes | None:
        """Map the panels read-only. None if the file does not exist; if it is damaged, that is logged, too.

        Reads and checks every byte of the file, with all threads, at the speed of memory or of the disk.
        """
        try:
            with open(self.path, "rb", opener=without_waiting) as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    self.refuse("it is not a regular file")
                elif found.st_size != self._size:
                    self.refuse(f"its size is {found.st_size} bytes, not {self._size}")
                else:
                    return self._checked(file, found)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.refuse(f"it cannot be read: {error.strerror or error}")
        return None

    def refuse(self, why: str) -> None:
        """Log why the file cannot be used, and delete it."""
        logging.getLogger("zigai").warning("%s: %s; packing the weights again", self.path, why)
        self._folder.delete(self.path)

    def written(self, fill: Callable[[Bytes], None]) -> Bytes:
        """Write the file and map its panels read-only. `fill` writes the panels to zeroed memory.

        Deletes the least recently used files first, to keep the folder within its limit. `UnwritableError`
        if the folder cannot be created or written to, or the disk is full.
        """
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._folder.make_room(self._size)
            with temporary.open("x+b") as file:
                try:
                    _share(file)
                    self._write(file, fill)
                    memory = self._mapped(file)[self._start : self._end]
                    temporary.replace(self.path)
                    return memory
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise UnwritableError(
                f"packed_cache: {self.path} ({self._size} bytes) cannot be written: "
                f"{error.strerror or error}; name another folder, or none"
            ) from error

    def _checked(self, file: IO[bytes], found: os.stat_result) -> Bytes | None:
        _share(file)
        whole = self._mapped(file)
        head, panels = whole[: self._start], whole[self._start : self._end]
        expected = np.frombuffer(self._head.ljust(self._start, b"\0"), np.uint8)
        if not np.array_equal(head, expected):
            self.refuse("its head differs from the expected one")
            return None
        stored = np.frombuffer(whole[self._end :].tobytes(), "<u8")
        wrong = np.flatnonzero(self._checksums(panels, BLOCK_BYTES) != stored)
        if wrong.size:
            self.refuse(f"it is damaged near byte {self._start + int(wrong[0]) * BLOCK_BYTES}")
            return None
        self._folder.use(file, found)
        self._folder.make_room()
        return panels

    def _write(self, file: IO[bytes], fill: Callable[[Bytes], None]) -> None:
        file.write(self._head)
        file.flush()
        # Reserves the space: a disk that fills up during writes to the map would end the process (SIGBUS).
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, self._size)
        else:
            file.truncate(self._size)
        whole = np.frombuffer(mmap.mmap(file.fileno(), self._size), np.uint8)
        panels = whole[self._start : self._end]
        fill(panels)
        whole[self._end :] = self._checksums(panels, BLOCK_BYTES).astype("<u8").view(np.uint8)
        os.fsync(file.fileno())

    def _mapped(self, file: IO[bytes]) -> Bytes:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_WILLNEED"):
            whole.madvise(mmap.MADV_WILLNEED)
        return np.frombuffer(whole, np.uint8)


def _share(file: IO[bytes]) -> None:
    """Lock the file against deletion by `PackedFolder.make_room` of any process.

    The lock lasts as long as the open file description, which maps of the file keep alive.
    """
    # Fails while another process deletes the file, and on file systems without locks, where none is deleted.
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
