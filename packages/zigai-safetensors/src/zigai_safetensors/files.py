"""Small files as JSON or text, and large ones mapped."""

from __future__ import annotations

import json
import mmap
import os
import stat
from pathlib import Path
from typing import Any

from zigai_core.contracts.errors import FormatError, quote
from zigai_safetensors import limits


def read_json(path: Path, limit: int = limits.JSON_BYTES) -> dict[str, Any]:
    """Returns the object in a JSON file. Raises `FormatError` for any other, and for a name in it twice."""
    return parse_object(read_text(path, limit), str(path))


def read_text(path: Path, limit: int = limits.JSON_BYTES) -> str:
    """Returns the text of a file in UTF-8, of at most `limit` bytes. Raises `FormatError` for any other."""
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: byte {error.start}: is not UTF-8 text") from None


def read_bytes(path: Path, limit: int) -> bytes:
    """Returns the bytes of a file of at most `limit` bytes. Raises `FormatError` for any other."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise FormatError(f"{path}: is not a regular file")
        if found.st_size > limit:
            raise FormatError(f"{path}: has {found.st_size} bytes; at most {limit} are read")
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from None


def parse_object(text: str, where: str) -> dict[str, Any]:
    """Returns the object in a JSON text. `where` begins error texts."""
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, where))
    except RecursionError:
        raise FormatError(f"{where}: values are nested too deeply") from None
    except ValueError as error:
        raise FormatError(f"{where}: is not JSON: {error}: it is damaged; download it again") from None
    if not isinstance(value, dict):
        raise FormatError(f"{where}: holds {quote(value)}, not an object")
    return value


def _unique(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise FormatError(f"{where}: holds {quote(name)} twice")
            seen.add(name)
    return found


def map_file(path: Path) -> tuple[mmap.mmap, str]:
    """Maps a file read-only. Returns the mapping and a string that identifies this state of the file.

    The string holds path, device, inode, size and modification time. The mapping lives as long as any view of
    it. Raises `FormatError` if the file does not exist, is empty, is not a regular file or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # checked before opening: a pipe blocks
            raise FormatError(f"{path}: is not a regular file, so it cannot be mapped")
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
    """Releases the memory of the whole pages within a range of bytes; later reads load them from the file."""
    first, end = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, (begin + nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if hasattr(mmap, "MADV_DONTNEED") and first < end:
        mapped.madvise(mmap.MADV_DONTNEED, first, end - first)
