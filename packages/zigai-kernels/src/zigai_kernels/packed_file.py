"""Packed weights on a disk, so that the next start maps them."""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import UnsupportedError

MAGIC = b"ZIGAI packed\n"


class PackedFile:
    """What one model's weights became, in a folder of such files.

    `contents` describes all of it: which tensors of which file, in which layout, where. The file's name is
    the hash of that and it begins with it, so another state of the model is another file, and none is
    changed once it is there: it is written under a name of its own and then renamed. Files in the folder may
    be deleted at any time; a process that maps one keeps it.
    """

    def __init__(self, folder: Path, contents: str, nbytes: int) -> None:
        self.path = folder / f"{hashlib.sha256(contents.encode()).hexdigest()[:32]}.packed"
        self._head = MAGIC + contents.encode()
        self._start = -(-len(self._head) // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self._nbytes = nbytes

    def open(self) -> NDArray[np.uint8] | None:
        """Its bytes after the head, mapped read-only; None where there is no such file, or not all of it."""
        try:
            with self.path.open("rb") as file:
                if (
                    file.read(len(self._head)) == self._head
                    and self._size(file) == self._start + self._nbytes
                ):
                    return self._mapped(file)
            self.refuse("it is not whole")
        except FileNotFoundError:
            pass
        except OSError as error:
            self.refuse(f"it cannot be read: {error.strerror or error}")
        return None

    def refuse(self, why: str) -> None:
        """Tell that what lies there is not taken."""
        logging.getLogger("zigai").warning("%s: %s; the weights are packed anew", self.path, why)

    def written(self, fill: Callable[[NDArray[np.uint8]], None]) -> NDArray[np.uint8]:
        """Its bytes after the head, zeros that `fill` sets; the file is whole, and on the disk.

        `UnsupportedError` where the folder cannot be made or written to, or has no room.
        """
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("x+b") as file:
                try:
                    fill(self._room(file))
                    os.fsync(file.fileno())
                    memory = self._mapped(file)
                    temporary.replace(self.path)
                    return memory
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise UnsupportedError(
                f"packed_cache: {self.path}, of {self._start + self._nbytes} bytes, cannot be written: "
                f"{error.strerror or error}; name another folder, or none"
            ) from error

    def _room(self, file: IO[bytes]) -> NDArray[np.uint8]:
        file.write(self._head)
        file.flush()
        size = self._start + self._nbytes
        # Room is taken now: a disk that is full only later would end the process when the map is written to.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return np.frombuffer(mmap.mmap(file.fileno(), size), np.uint8)[self._start :]

    def _mapped(self, file: IO[bytes]) -> NDArray[np.uint8]:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_WILLNEED"):
            whole.madvise(mmap.MADV_WILLNEED)
        return np.frombuffer(whole, np.uint8)[self._start :]

    @staticmethod
    def _size(file: IO[bytes]) -> int:
        return os.fstat(file.fileno()).st_size
