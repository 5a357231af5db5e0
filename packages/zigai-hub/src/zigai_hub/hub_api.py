"""The parts of huggingface_hub that are used: questions to the hub, and entries of its cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from zigai_core.contracts.errors import DownloadError, escape

_TOKEN = "give a token of an account that has access: HF_TOKEN=hf_… or the command hf auth login"


class UnreachableError(DownloadError):
    """The hub cannot be reached, or offline mode is on."""


@dataclass(frozen=True)
class File:
    """A file in a repository. `etag` is its name in the cache; `sha256` is empty for small text files."""

    name: str
    size: int
    sha256: str
    etag: str


@dataclass(frozen=True)
class Repository:
    """A repository at one commit."""

    commit: str
    files: tuple[File, ...]


def denied(repo: str) -> str:
    """What to do if the hub refuses a repository or its files."""
    return f"if it is gated, accept its terms at {constants.ENDPOINT}/{repo}, and {_TOKEN}"


def ask(repo: str, revision: str | None) -> Repository:
    """The files of a repository. Raises `DownloadError` for every refusal of the hub, in one line."""
    label = f"hf:{repo}" + (f"@{revision}" if revision else "")
    if constants.HF_HUB_OFFLINE:
        raise UnreachableError("HF_HUB_OFFLINE is set, so nothing is downloaded")
    try:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=20)
    except GatedRepoError as error:
        raise DownloadError(
            f"{label}: the repository is gated: accept its terms at {constants.ENDPOINT}/{repo}, and {_TOKEN}"
        ) from error
    except RevisionNotFoundError as error:
        raise DownloadError(f"{label}: the repository has no revision {revision}") from error
    except RepositoryNotFoundError as error:  # the hub answers 401 for private and for missing ones
        raise DownloadError(
            f"{label}: there is no such repository, or it is private: check the name; if it is, {_TOKEN}"
        ) from error
    except OfflineModeIsEnabled as error:
        raise UnreachableError("offline mode is on, so nothing is downloaded") from error
    except HFValidationError as error:
        raise DownloadError(f"{label}: not the name of a repository: {escape(str(error), 200)}") from error
    except HfHubHTTPError as error:
        code = error.response.status_code
        advice = _TOKEN if code in (401, 403) else "try again later"
        raise DownloadError(f"{label}: the hub refuses: HTTP {code}: {advice}") from error
    except Exception as error:  # the HTTP library's errors, which differ between versions of huggingface_hub
        raise UnreachableError(
            f"{constants.ENDPOINT} cannot be reached: {type(error).__name__}: {escape(str(error), 200)}"
        ) from error
    files = []
    for entry in info.siblings or ():
        sha256 = (entry.lfs.sha256 if entry.lfs else "") or ""
        files.append(File(entry.rfilename, entry.size or 0, sha256, sha256 or entry.blob_id or ""))
    return Repository(info.sha or "", tuple(files))


def address(repo: str, file: str, commit: str) -> tuple[str, dict[str, str]]:
    """The URL of a file, and the headers (with the user's token, if any) for it."""
    return hf_hub_url(repo, file, revision=commit), build_hf_headers(library_name="zigai")


def enter(repo: str, file: str, revision: str | None, commit: str) -> Path:
    """Let huggingface_hub add a file whose bytes are in `blobs` to its cache. Returns the file's path.

    The names in `refs` are written only for a branch or tag, which is then asked for.
    """
    try:
        path = hf_hub_download(repo, file, revision=revision or "main")
        if Path(path).parent.name == commit or f"/{commit}/" in Path(path).as_posix():
            return Path(path)
        return Path(hf_hub_download(repo, file, revision=commit))  # the branch moved in the meantime
    except Exception as error:
        raise DownloadError(
            f"hf:{repo}/{file}: it is downloaded, but the cache cannot take it: "
            f"{escape(str(error), 200)}: run it again"
        ) from error


def _home() -> Path:
    return Path(constants.HF_HUB_CACHE)


def _folder(repo: str) -> Path:
    return _home() / repo_folder_name(repo_id=repo, repo_type="model")


def blobs(repo: str) -> Path:
    """The folder of a repository's files in the cache, by etag."""
    return _folder(repo) / "blobs"


def lock(repo: str, etag: str) -> Path:
    """The lock file of a download, beside those of huggingface_hub."""
    return _home() / ".locks" / _folder(repo).name / f"{etag}.zigai.lock"


def snapshot(repo: str, revision: str | None) -> Path | None:
    """The folder of a revision in the cache; None if it is not there. `None` is the branch `main`."""
    folder = _folder(repo)
    try:
        commit = (folder / "refs" / (revision or "main")).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        commit = revision or ""
    path = folder / "snapshots" / commit
    return path if commit and path.is_dir() else None


def revisions(repo: str, revision: str | None) -> list[Path]:
    """The folders of a repository's revisions in the cache; of one, if it is named."""
    if revision is not None:
        found = snapshot(repo, revision)
        return [found] if found else []
    return sorted(path for path in (_folder(repo) / "snapshots").glob("*") if path.is_dir())


def snapshots() -> Iterator[tuple[str, Path, str]]:
    """All revisions of models in the cache: (repository, folder, revision); `main` is the empty revision."""
    for folder in sorted(_home().glob("models--*--*")):
        repo = folder.name.removeprefix("models--").replace("--", "/", 1)
        main = snapshot(repo, None)
        for path in revisions(repo, None):
            yield repo, path, "" if path == main else path.name


def partial(suffix: str) -> Iterator[tuple[str, Path]]:
    """Unfinished downloads: (repository, file)."""
    for path in sorted(_home().glob(f"models--*--*/blobs/*{suffix}")):
        yield path.parent.parent.name.removeprefix("models--").replace("--", "/", 1), path


def delete(path: Path) -> int:
    """Delete a file of a revision, and its bytes if no other revision has them. Returns the bytes freed."""
    blob = Path(os.path.realpath(path))
    size = blob.stat().st_size if blob.exists() else 0
    path.unlink(missing_ok=True)
    if blob == path:
        return size
    root = blob.parent.parent / "snapshots"
    if any(Path(os.path.realpath(other)) == blob for other in root.rglob("*") if other.is_symlink()):
        return 0
    blob.unlink(missing_ok=True)
    return size


def tidy(repo: str) -> None:
    """Delete what is left of a repository in the cache if no file of a revision is left."""
    folder = _folder(repo)
    left = [path for path in (folder / "snapshots").rglob("*") if not path.is_dir()]
    partial_files = list((folder / "blobs").glob("*-part")) if folder.exists() else []
    if folder.exists() and not left and not partial_files:
        shutil.rmtree(folder, ignore_errors=True)
