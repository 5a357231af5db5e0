"""A place in a mapped file, and the only way on from it: bytes that are surely there."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path
from struct import Struct

from zigai_core.contracts.errors import FormatError, quote
from zigai_gguf import limits

_U32 = Struct("<I")
_U64 = Struct("<Q")


def map_file(path: Path) -> tuple[mmap.mmap, str]:
    """The file's bytes, mapped read-only, and what tells this state of the file from any other.

    The map lives as long as a view of it does.

    `FormatError` where there is no such file, where it is empty or no regular file, or may not be read.
    """
    try:
        # Asked before it is opened: opening a pipe would wait for somebody to write to it.
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise FormatError(f"{path}: is a folder, not a GGUF file; name the file in it")
        if not stat.S_ISREG(mode):
            raise FormatError(f"{path}: is no regular file, so it cannot be mapped; copy it to a disk first")
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not found.st_size:
                raise FormatError(f"{path}: byte 0: the file is empty; download it again")
            identity = f"{path.resolve()} {found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), identity
    except FileNotFoundError:
        raise FormatError(f"{path}: there is no such file") from None
    except (OSError, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FormatError(f"{path}: cannot be read: {reason}") from None


def unload(mapped: mmap.mmap, begin: int, nbytes: int) -> None:
    """Gives the memory of these bytes back: whole pages of them are read from the file again when needed."""
    first, end = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, (begin + nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if hasattr(mmap, "MADV_DONTNEED") and first < end:
        mapped.madvise(mmap.MADV_DONTNEED, first, end - first)


class Cursor:
    """Reads a header from its start to its end. Every method checks before it reads, then moves on."""

    def __init__(self, path: Path, data: memoryview) -> None:
        self.path = path
        self.size = len(data)
        self.data = data[: limits.HEADER_BYTES]
        self.position = 0

    @property
    def left(self) -> int:
        """Bytes of the header that may still be read."""
        return len(self.data) - self.position

    def error(self, field: str, what: str, at: int | None = None) -> FormatError:
        """A `FormatError` that says where (here, unless `at` is given), which field, and what."""
        return FormatError(f"{self.path}: byte {self.position if at is None else at}: {field} {what}")

    def ended(self, field: str, needed: int, at: int) -> FormatError:
        """The error for `needed` bytes from `at` on that are not there."""
        if at + needed > self.size:
            return self.error(
                field,
                f"needs {needed} bytes but the file ends at byte {self.size}: it is truncated or damaged; "
                "download it again",
                at,
            )
        return self.error(field, f"lies past the first {len(self.data)} bytes, more header than is read", at)

    def take(self, count: int, field: str) -> int:
        """Step over `count` bytes; where they begin."""
        if count > self.left:
            raise self.ended(field, count, self.position)
        start = self.position
        self.position += count
        return start

    def unpack(self, form: Struct, field: str) -> int | float:
        """A number."""
        start = self.take(form.size, field)
        value: int | float = form.unpack_from(self.data, start)[0]
        return value

    def u32(self, field: str) -> int:
        """An unsigned 32-bit number."""
        return int(self.unpack(_U32, field))

    def u64(self, field: str) -> int:
        """An unsigned 64-bit number."""
        return int(self.unpack(_U64, field))

    def count(self, field: str, each: int, maximum: int | None = None) -> int:
        """A count of things that take at least `each` bytes: no more than can follow, or than `maximum`."""
        at = self.position
        value = self.u64(field)
        if value * each > self.left:
            if at + 8 + value * each <= self.size:
                raise self.ended(field, value * each, at + 8)
            raise self.error(
                field,
                f"is {value}, but only {self.size - self.position} bytes follow: the file is truncated or "
                "damaged; download it again",
                at,
            )
        if maximum is not None and value > maximum:
            raise self.error(field, f"is {value}; at most {maximum} are read", at)
        return value

    def string(self, field: str) -> str | bytes:
        """A string: a 64-bit length and bytes, as they are where they are not UTF-8."""
        start = self.take(self.u64(field), field)
        stored = self.data[start : self.position]
        try:
            return str(stored, "utf-8")
        except UnicodeDecodeError:
            return bytes(stored)

    def text(self, field: str, maximum: int | None = None) -> str:
        """A string that must be UTF-8."""
        at = self.position
        length = self.u64(field)
        if maximum is not None and length > maximum:
            raise self.error(field, f"is {length} bytes long; at most {maximum} are allowed", at)
        start = self.take(length, field)
        try:
            return str(self.data[start : self.position], "utf-8")
        except UnicodeDecodeError as error:
            raise self.error(field, "is not valid UTF-8", start + error.start) from None

    def name(self, field: str) -> str:
        """A key or a tensor's name: text that is not empty, not too long and holds no NUL."""
        at = self.position
        value = self.text(field, limits.NAME_BYTES)
        if not value:
            raise self.error(field, "is empty", at)
        if "\0" in value:
            raise self.error(field, f"{quote(value)} holds a NUL", at)
        return value
