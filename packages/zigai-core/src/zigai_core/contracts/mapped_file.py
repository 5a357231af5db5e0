"""`MappedFile`: a file of weights, mapped into memory."""

from __future__ import annotations

import mmap
import os
import stat
from functools import partial
from pathlib import Path
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.dtypes import DType
from zigai_core.contracts.errors import FormatError, quote
from zigai_core.contracts.tensors import TensorInfo


class MappedFile:
    """A file, mapped read-only for as long as a view of it lives.

    `memory` is the mapping. `identity` identifies this state of the file: path, device, inode, size, and
    the times of the last changes of its contents and of its attributes.
    """

    def __init__(self, path: Path) -> None:
        """Raises `FormatError` if the file does not exist, is empty, is no regular file or cannot be read."""
        self.path = path
        try:
            # Checked before opening: opening a pipe blocks until another process writes to it.
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise FormatError(f"{path}: is a folder; give the path of the file in it")
            if not stat.S_ISREG(mode):
                raise FormatError(
                    f"{path}: is not a regular file, so it cannot be mapped; copy it to a disk first"
                )
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                if not found.st_size:
                    raise FormatError(f"{path}: byte 0: the file is empty; download it again")
                state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
                self.identity = f"{path.resolve()} {' '.join(map(str, state))}"
                self.memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._bytes = np.frombuffer(self.memory, np.uint8)
                self._file = os.dup(file.fileno())
                finalize(self, os.close, self._file)
        except FileNotFoundError:
            raise FormatError(f"{path}: there is no such file") from None
        except (OSError, ValueError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise FormatError(f"{path}: cannot be read: {reason}") from None

    def tensor(self, name: str, shape: tuple[int, ...], dtype: DType, begin: int, nbytes: int) -> TensorInfo:
        """Returns the tensor whose `nbytes` bytes begin at byte `begin`.

        Raises `FormatError` if they are not all in the file.
        """
        if not 0 <= begin <= begin + nbytes <= len(self.memory):
            raise FormatError(
                f"{self.path}: tensor {quote(name)}: {nbytes} bytes from byte {begin} on are not in the file "
                f"of {len(self.memory)}: it is damaged or was cut short; download it again"
            )
        return TensorInfo(
            name,
            shape,
            dtype,
            self._bytes[begin : begin + nbytes],
            partial(self.unload, begin, nbytes),
            f"{self.identity} {begin} {nbytes}",
            self.check,
            partial(self.read, begin),
        )

    def read(self, begin: int, first: int, nbytes: int) -> NDArray[np.uint8]:
        """Copies `nbytes` bytes from byte `begin + first` on, by the system's `pread`.

        It does not touch the mapping. Raises `FormatError` if the file has been cut short, or cannot be read.
        """
        if not hasattr(os, "preadv"):
            self.check()
            return self._bytes[begin + first : begin + first + nbytes].copy()
        copied = np.empty(nbytes, np.uint8)
        done = 0
        while done < nbytes:
            try:
                count = os.preadv(self._file, [copied[done:].data], begin + first + done)
            except OSError as error:
                raise FormatError(f"{self.path}: cannot be read: {error.strerror or error}") from None
            if not count:
                self.check()
                raise FormatError(f"{self.path}: byte {begin + first + done}: cannot be read")
            done += count
        return copied

    def unload(self, begin: int, nbytes: int) -> None:
        """Releases the memory of the whole pages in a range; later reads load them from the file."""
        page = mmap.PAGESIZE
        first, end = -(-begin // page) * page, (begin + nbytes) // page * page
        if hasattr(mmap, "MADV_DONTNEED") and first < end:
            self.memory.madvise(mmap.MADV_DONTNEED, first, end - first)

    def check(self) -> None:
        """Raises `FormatError` if the file has been cut short since it was mapped.

        Reading mapped bytes past the end of a file ends the process (SIGBUS).
        """
        size = self.memory.size()
        if size < len(self.memory):
            raise FormatError(
                f"{self.path}: was cut short while in use: it had {len(self.memory)} bytes, and has {size} "
                "now; load the model again, and replace a file in use rather than writing to it"
            )
