"""Downloads a file by HTTP: resumed after any interruption, checked, and put in place atomically."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import filelock
import requests

from zigai_core.contracts.errors import DownloadError
from zigai_core.contracts.sources import DownloadProgress
from zigai_hub.names import gigabytes

CHUNK = 1 << 20
NETWORK_CHUNK = 1 << 16
"""Bytes at once from the network: at most this much is lost when a connection breaks."""

SUFFIX = ".zigai-part"
"""Ending of a partial file's name."""
TRIES = 5
"""Attempts in a row that bring no byte before a download fails."""


@contextmanager
def locked(path: Path, what: str, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock file `path` of a download, so that two processes do not write one file.

    With `wait=False` it is an error if another process holds it. The system releases the lock if its process
    is killed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path, timeout=-1 if wait else 0):
            yield
    except filelock.Timeout as error:
        raise DownloadError(
            f"{what}: another process is downloading it: wait for its end, or end it"
        ) from error
    except OSError as error:
        raise disk_error(error, what, path) from error


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise `DownloadError` if the file system of an existing folder has less free than `needed` bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{what}: needs {gigabytes(needed)} in {folder}, where {gigabytes(free)} are free: remove "
            "models with zig-ai rm, or set ZIGAI_HOME (for hf: HF_HOME) to a folder on another disk"
        )


def fetch(
    url: str,
    path: Path,
    *,
    what: str,
    session: requests.Session,
    size: int | None,
    sha256: str | None,
    headers: Mapping[str, str] | None = None,
    progress: DownloadProgress | None = None,
    denied: str = "check the credentials for this server",
    timeout: float = 30.0,
) -> None:
    """Download `url` to `path`, which is created only when all bytes are there and are right.

    `denied` is what to do if the server answers 401 or 403.

    Bytes so far are kept in a file beside it, and are used by the next call. To be called under `locked`.
    """
    part = path.with_name(path.name + SUFFIX)
    kept = part.stat().st_size if part.exists() else 0
    if size is not None:
        if kept > size:
            part.unlink()
            kept = 0
        check_space(path.parent, size - kept, what)
    tries = TRIES
    while size is None or kept < size or not part.exists():
        before = kept
        try:
            kept, size = _receive(
                url, part, kept, size, session=session, headers=headers or {}, what=what,
                progress=progress, denied=denied, timeout=timeout,
            )  # fmt: skip
            break
        except requests.RequestException as error:
            kept = part.stat().st_size if part.exists() else 0
            tries = TRIES if kept > before else tries - 1
            if not tries or (isinstance(error, requests.ConnectionError) and not kept):
                raise DownloadError(
                    f"{what}: the connection failed ({type(error).__name__}) after {gigabytes(kept)}: "
                    "check the network and run the command again, which resumes it"
                ) from error
    kept = part.stat().st_size
    if size is not None and kept != size:
        part.unlink()
        raise DownloadError(f"{what}: {kept} bytes came, not {size}: the download was deleted; run it again")
    if sha256 is not None:
        check_sum(part, sha256, what)
    sync(part)
    part.replace(path)


def check_sum(path: Path, sha256: str, what: str) -> None:
    """Delete the file and raise `DownloadError` if its SHA-256 is another one."""
    found = sum_of(path)
    if found != sha256:
        path.unlink()
        raise DownloadError(
            f"{what}: wrong checksum: its SHA-256 is {found}, but must be {sha256}; the file was deleted: "
            "run it again, and if that does not help, the server or the name's checksum is wrong"
        )


def sum_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Write a file's bytes to the disk, so that a renamed file is whole after a crash of the system."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def disk_error(error: OSError, what: str, path: Path) -> DownloadError:
    """The error for a file that cannot be written."""
    reason = error.strerror or str(error)
    return DownloadError(f"{what}: {error.filename or path}: {reason}: free space or check permissions")


def _receive(
    url: str,
    part: Path,
    kept: int,
    size: int | None,
    *,
    session: requests.Session,
    headers: Mapping[str, str],
    what: str,
    progress: DownloadProgress | None,
    denied: str,
    timeout: float,
) -> tuple[int, int | None]:
    """One request: appends to `part` what it lacks. Returns its length, and the whole length if known."""
    ask = {**headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={kept}-"} if kept else {})
    with session.get(url, headers=ask, stream=True, timeout=timeout) as answer:
        if answer.status_code == 416 and kept:
            if size in (None, kept) and answer.headers.get("Content-Range") == f"bytes */{kept}":
                return kept, kept  # all bytes are here: killed after the last one
            part.unlink(missing_ok=True)  # they are no beginning of this file
            raise requests.HTTPError("HTTP 416")
        if answer.status_code >= 500 or answer.status_code in (408, 429):
            raise requests.HTTPError(f"HTTP {answer.status_code}")
        if answer.status_code in (401, 403):
            raise DownloadError(f"{what}: the server refuses the file: HTTP {answer.status_code}: {denied}")
        if answer.status_code >= 400:
            raise DownloadError(f"{what}: the server refuses the file: HTTP {answer.status_code} for {url}")
        if kept and answer.status_code != 206:  # a server without ranges sends the whole file
            kept = 0
        length = answer.headers.get("Content-Length", "")
        if size is None and length.isdecimal():
            size = kept + int(length)
            check_space(part.parent, int(length), what)
        with part.open("ab" if kept else "wb") as file:
            if progress:
                progress(what, kept, size or 0)
            for chunk in answer.iter_content(NETWORK_CHUNK):
                file.write(chunk)
                file.flush()
                kept += len(chunk)
                if progress:
                    progress(what, kept, size or 0)
    if size is not None and kept < size:
        raise requests.ConnectionError("the connection was closed early")
    return kept, size
