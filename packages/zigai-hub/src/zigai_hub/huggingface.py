"""`hf:owner/repository[:QUANTISATION | /FILE.gguf][@revision]`: GGUF files of the Hugging Face hub.

Files are in huggingface_hub's own cache, under its settings (HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE).
It does not resume a download after its process has ended, so the bytes are downloaded here, to the place
where it looks for them, and it adds the entries of its cache.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from zigai_core.contracts.errors import DownloadError, quote
from zigai_core.contracts.sources import DownloadProgress, Offer, StoredModel
from zigai_hub import download, hub_api
from zigai_hub.names import gigabytes, models, quantisation, split_checksum

_NAME = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)"
    r"(?:/(?P<file>[^@#:]+\.gguf)|:(?P<quantisation>[A-Za-z0-9_-]+))?(?:@(?P<revision>[\w./-]+))?",
    re.IGNORECASE,
)

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
"""Source of the form: huggingface_hub, `validate_repo_id`."""
_FILES = (".gguf", ".safetensors", ".npz", ".json", ".bin", ".pt", ".pth", ".onnx")
"""Endings of names that are paths of files rather than repositories."""


@dataclass(frozen=True)
class _Name:
    repo: str
    file: str | None
    quantisation: str | None
    revision: str | None
    sha256: str | None

    @property
    def label(self) -> str:
        return f"hf:{self.repo}" + (f"@{self.revision}" if self.revision else "")


class HubSource:
    """The Hugging Face hub, with the cache that other programs share."""

    def target(self, name: str) -> str | None:
        """None: this source holds the models."""
        return None

    def find(self, name: str) -> Path | None:
        """Return the first file of a model of which all parts are in the cache."""
        asked = _parse(name)
        folder = hub_api.snapshot(asked.repo, asked.revision)
        if folder is None:
            return None
        found = models(
            [path.relative_to(folder).as_posix() for path in folder.rglob("*.gguf") if path.exists()]
        )
        chosen = _matching(asked, list(found))
        if len(chosen) > 1:
            listed = ", ".join(_choices(asked, dict.fromkeys(chosen, 0)))
            raise DownloadError(
                f"{asked.label}: several models of it are on this machine: name one: {listed}"
            )
        if not chosen:
            return None
        path = folder / chosen[0]
        if (
            asked.sha256 and path.resolve().name != asked.sha256
        ):  # the cache names a large file by its SHA-256
            raise DownloadError(
                f"{asked.label}: wrong checksum: the SHA-256 of {chosen[0]} is not {asked.sha256}: "
                f"remove it with zig-ai rm {asked.label}"
            )
        return path

    def pull(self, name: str, progress: DownloadProgress | None = None) -> Path:
        """Ask the hub for the repository's files, and download those of the model that are not here."""
        asked = _parse(name)
        repository = self._ask(asked)
        sizes = {file.name: file for file in repository.files}
        found = models(list(sizes))
        chosen = _matching(asked, list(found))
        if len(chosen) != 1:
            raise DownloadError(
                _no_choice(asked, chosen, {f: sum(sizes[p].size for p in found[f]) for f in found}, sizes)
            )
        parts = [sizes[part] for part in found[chosen[0]]]
        if asked.sha256 and asked.sha256 != parts[0].sha256:
            raise DownloadError(
                f"{asked.label}: wrong checksum: the hub gives {parts[0].sha256 or 'none'} for "
                f"{parts[0].name}, but it must be {asked.sha256}"
            )
        folder = hub_api.blobs(asked.repo)
        folder.mkdir(parents=True, exist_ok=True)
        missing = [part for part in parts if not (folder / part.etag).exists()]
        kept = sum(path.stat().st_size for part in missing if (path := _part(folder / part.etag)).exists())
        download.check_space(folder, sum(part.size for part in missing) - kept, asked.label)
        paths = [self._pull_file(asked, repository, part, folder, progress) for part in parts]
        return paths[0]

    def stored(self, name: str | None = None) -> Sequence[StoredModel]:
        """Return the models in the cache, and unfinished downloads of this package."""
        if name is not None:
            return self._stored(_parse(name))
        found = []
        for repo, folder, revision in hub_api.snapshots():
            here = models(
                [path.relative_to(folder).as_posix() for path in folder.rglob("*.gguf") if path.exists()]
            )
            labels = [quantisation(file) for file in here]
            for file, parts in here.items():
                label = quantisation(file)
                rest = f":{label}" if label and labels.count(label) == 1 else f"/{file}"
                size = sum((folder / part).stat().st_size for part in parts)
                at = f"@{revision}" if revision else ""
                found.append(StoredModel(f"hf:{repo}{rest}{at}", folder / file, size))
        for repo, path in hub_api.partial(download.SUFFIX):
            found.append(StoredModel(f"hf:{repo}", path, path.stat().st_size, complete=False))
        return found

    def _stored(self, asked: _Name) -> list[StoredModel]:
        """What `remove` deletes."""
        found = []
        for folder, parts in _in_cache(asked):
            size = sum((folder / part).stat().st_size for part in parts if (folder / part).exists())
            found.append(StoredModel(asked.label, folder / parts[0], size))
        for path in _unfinished(asked):
            found.append(StoredModel(asked.label, path, path.stat().st_size, complete=False))
        return found

    def remove(self, name: str) -> int:
        """Delete a model's files from the cache, or all GGUF files of a repository if it names no model."""
        asked = _parse(name)
        freed = sum(hub_api.delete(folder / part) for folder, parts in _in_cache(asked) for part in parts)
        for path in _unfinished(asked):
            lock = hub_api.lock(asked.repo, path.name.removesuffix(download.SUFFIX))
            with download.locked(lock, asked.label, wait=False):
                freed += path.stat().st_size
                path.unlink()
        hub_api.tidy(asked.repo)
        return freed

    def offered(self) -> Sequence[Offer]:
        """Return nothing: the curated list is the aliases'."""
        return ()

    def suggests(self, name: str) -> str | None:
        """The name of a repository with its prefix; None for a name that is none, or that of a file."""
        if _REPOSITORY.fullmatch(name) is None or name.lower().endswith(_FILES):
            return None
        return f"for the model of this name on Hugging Face: hf:{name}"

    def _ask(self, asked: _Name) -> hub_api.Repository:
        try:
            return hub_api.ask(asked.repo, asked.revision)
        except hub_api.UnreachableError as error:
            here = [model.name for model in self.stored() if model.complete]
            raise DownloadError(
                f"{asked.label}: {error} (on this machine: {', '.join(here) or 'no model of hf:'})"
            ) from error

    def _pull_file(
        self,
        asked: _Name,
        repository: hub_api.Repository,
        file: hub_api.File,
        folder: Path,
        progress: DownloadProgress | None,
    ) -> Path:
        blob, what = folder / file.etag, f"hf:{asked.repo}/{file.name}"
        with download.locked(hub_api.lock(asked.repo, file.etag), what):
            if not _is_whole(blob, file):
                url, headers = hub_api.address(asked.repo, file.name, repository.commit)
                with requests.Session() as session:
                    download.fetch(
                        url, blob, what=what, session=session, size=file.size, sha256=file.sha256 or None,
                        headers=headers, progress=progress, denied=hub_api.denied(asked.repo),
                    )  # fmt: skip
            return hub_api.enter(asked.repo, file.name, asked.revision, repository.commit)


def _is_whole(blob: Path, file: hub_api.File) -> bool:
    """True if a file in the cache is the hub's, by its size and, if that is known, its checksum."""
    if not blob.exists() or blob.stat().st_size != file.size:
        return False
    return not file.sha256 or download.sum_of(blob) == file.sha256


def _in_cache(asked: _Name) -> list[tuple[Path, list[str]]]:
    """The models in the cache that a name means: the folder of the revision, and the files in it."""
    found = []
    for folder in hub_api.revisions(asked.repo, asked.revision):
        here = models([path.relative_to(folder).as_posix() for path in folder.rglob("*.gguf")])
        found += [(folder, here[file]) for file in _matching(asked, list(here))]
    return found


def _unfinished(asked: _Name) -> list[Path]:
    """The unfinished downloads of a repository; the files tell no model, so none if the name tells one."""
    if asked.file is not None or asked.quantisation is not None:
        return []
    return sorted(hub_api.blobs(asked.repo).glob(f"*{download.SUFFIX}"))


def _part(path: Path) -> Path:
    return path.with_name(path.name + download.SUFFIX)


def _parse(name: str) -> _Name:
    plain, sha256 = split_checksum(name)
    match = _NAME.fullmatch(plain)
    if not match or ".." in plain:
        raise DownloadError(
            f"hf:{quote(name)[1:-1]}: write hf:OWNER/REPOSITORY, with :QUANTISATION or /FILE.gguf, and "
            "@REVISION, if needed"
        )
    return _Name(match["repo"], match["file"], match["quantisation"], match["revision"], sha256)


def _matching(asked: _Name, files: list[str]) -> list[str]:
    if asked.file is not None:
        return [file for file in files if file == asked.file]
    if asked.quantisation is not None:
        wanted = asked.quantisation.upper()
        return [file for file in files if quantisation(file) == wanted]
    return files


def _choices(asked: _Name, files: dict[str, int]) -> list[str]:
    labels = [quantisation(file) for file in files]
    at = f"@{asked.revision}" if asked.revision else ""
    return [
        f"hf:{asked.repo}"
        + (f":{label}" if label and labels.count(label) == 1 else f"/{file}")
        + at
        + (f" ({gigabytes(size)})" if size else "")
        for (file, size), label in zip(files.items(), labels, strict=True)
    ]


def _no_choice(asked: _Name, chosen: list[str], sizes: dict[str, int], files: dict[str, hub_api.File]) -> str:
    if not sizes:
        held = ", ".join(sorted(files)[:8]) + (", …" if len(files) > 8 else "")
        return (
            f"{asked.label}: the repository has no GGUF model; it holds {held or 'nothing'}: look for one "
            "whose name ends in -GGUF"
        )
    if chosen:
        listed = ", ".join(_choices(asked, {file: sizes[file] for file in chosen}))
        return f"{asked.label}: it has {len(chosen)} models that fit: name one: {listed}"
    listed = ", ".join(_choices(asked, sizes))
    return f"{asked.label}: it has no {asked.file or asked.quantisation}; it has {listed}"
