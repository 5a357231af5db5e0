"""The contract of model sources: where models come from when they are named instead of given as a path.

A name is `PREFIX:REST`, such as `hf:owner/repository`; the entry point's name in `zigai.sources` is the
prefix, of two or more letters. A source gets the rest. The source `alias` also gets bare words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

DownloadProgress = Callable[[str, int, int], None]
"""Called with `(file's name, bytes done, bytes in total)`. The first call of a file that is resumed has the
bytes that were kept. An exception it raises stops the download, which may be resumed later."""


@dataclass(frozen=True)
class StoredModel:
    """A model on this machine, or the part of it that was downloaded."""

    name: str
    """The name with its prefix, as `zig-ai rm` takes it."""
    path: Path
    nbytes: int
    complete: bool = True
    """False for an unfinished download."""


@dataclass(frozen=True)
class Offer:
    """A model that a source recommends. `nbytes` is 0 if the size is not known."""

    name: str
    about: str
    nbytes: int
    licence: str
    model: str
    """The name or path that it stands for."""


@runtime_checkable
class Source(Protocol):
    """Finds, downloads and removes models by name. Constructed without arguments; opens nothing until used.

    `DownloadError` is raised for a name that is not understood, and for a download that fails. A partial file
    is never returned, and is kept for the next `pull` unless its content is wrong.
    """

    def target(self, name: str) -> str | None:
        """Returns the name or path that `name` stands for; None if this source holds the model itself."""
        ...

    def find(self, name: str) -> Path | None:
        """Returns the path of a model that is complete on this machine, without network; None if not."""
        ...

    def pull(self, name: str, progress: DownloadProgress | None = None) -> Path:
        """Downloads what is missing of a model, checks it, and returns its path."""
        ...

    def stored(self, name: str | None = None) -> Sequence[StoredModel]:
        """Returns the models of this source on this machine, unfinished downloads included.

        With a name, those that it means, which `remove` deletes.
        """
        ...

    def remove(self, name: str) -> int:
        """Deletes a model, or its unfinished download. Returns the bytes that were freed.

        Raises `DownloadError` while another process downloads it.
        """
        ...

    def offered(self) -> Sequence[Offer]:
        """Returns models that this source recommends."""
        ...


@runtime_checkable
class SuggestingSource(Protocol):
    """A `Source` that recognises its names when they are written without the prefix. Optional."""

    def suggests(self, name: str) -> str | None:
        """Returns what to write instead of `name`, which is neither a file here nor the name of a model.

        The result ends the sentence "there is no such file or folder; …". None if the source knows nothing of
        it. Without network.
        """
        ...
