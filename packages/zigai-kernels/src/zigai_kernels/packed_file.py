"""Packed weights on a disk, so that the next start maps them."""

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
"""Of the file's form, behind `MAGIC` in its first line."""

BLOCK_BYTES = 1 << 20
"""Bytes that one checksum is of."""

Bytes = NDArray[np.uint8]
Checksums = Callable[[Bytes, int], NDArray[np.uint64]]
"""Gives the checksums of an array's blocks of so many bytes, of which the last may be shorter."""


class PackedFile:
    """The panels of one model's weights, in a folder of such files.

    | part | bytes |
    |---|---|
    | head | `MAGIC`, `VERSION` and `contents` |
    | zeros | up to the next multiple of a page |
    | panels | `nbytes` |
    | checksums | uint64, little-endian, of each `BLOCK_BYTES` of the panels |

    `contents` describes the panels: which tensors of which file, in which layout, where. The file's name is
    the hash of its head, so another state of the model is another file. A file is written under another name
    and then renamed, and never changed after that. Files in the folder may be deleted at any time; a process
    that maps one keeps it.
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
        """The panels, mapped read-only; None if there is no such file, or it is damaged, which is logged.

        Every byte of the file is read and checked: as fast as the memory gives them (or the disk, if the
        system does not have the file in memory), with all threads.
        """
        try:
            with open(self.path, "rb", opener=without_waiting) as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    self.refuse("it is not a regular file")
                elif found.st_size != self._size:
                    self.refuse(f"it has {found.st_size} bytes and should have {self._size}")
                else:
                    return self._checked(file, found)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.refuse(f"it cannot be read: {error.strerror or error}")
        return None

    def refuse(self, why: str) -> None:
        """Log why the file is not used, and delete it if it is a file."""
        logging.getLogger("zigai").warning("%s: %s; the weights are packed anew", self.path, why)
        self._folder.delete(self.path)

    def written(self, fill: Callable[[Bytes], None]) -> Bytes:
        """The panels, which `fill` writes over zeros; mapped read-only, the file whole and on the disk.

        Files that were not used for longest are deleted before, to keep the folder within its bound.
        `UnsupportedError` if the folder cannot be made or written to, or has no room.
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
            raise UnsupportedError(
                f"packed_cache: {self.path}, of {self._size} bytes, cannot be written: "
                f"{error.strerror or error}; name another folder, or none"
            ) from error

    def _checked(self, file: IO[bytes], found: os.stat_result) -> Bytes | None:
        _share(file)
        whole = self._mapped(file)
        head, panels = whole[: self._start], whole[self._start : self._end]
        expected = np.frombuffer(self._head.ljust(self._start, b"\0"), np.uint8)
        if not np.array_equal(head, expected):
            self.refuse("it begins otherwise than it should")
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
        # Room is taken now: a disk that is full only later would end the process when the map is written to.
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

    The lock belongs to the open file, which a map of it keeps open: it ends with the last map.
    """
    # It fails if someone is deleting the file, or on a file system without locks, where nothing is deleted.
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
