"""Loads a model for a command, and shows how far it is where somebody watches."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from zigai_cli.options import Speculate
from zigai_cli.terminal import clean, has_colour, note

if TYPE_CHECKING:
    from rich.progress import Progress

    from zigai_core.api.model import Model
    from zigai_core.contracts.descriptor import ModelDescriptor
    from zigai_core.contracts.load_options import LoadOptions

PATIENCE = 0.3
"""Seconds that loading may take before a progress bar appears."""


def choose(path: Path | None) -> Path:
    """The model's file: the one named, else the one that comes with zigai, which standard error is told."""
    if path is not None:
        return path
    from zigai_core.api.loading import default_model

    bundled = default_model()
    note(f"no model is named, so this is {bundled.about}. To name one: --model PATH.gguf", sys.stderr)
    return bundled.path


def load(path: Path | None, options: LoadOptions) -> Model:
    """The model, ready to run; a progress bar on standard error if that is a terminal and it takes long."""
    from zigai_core.api import loading

    path = choose(path)
    with LoadProgress(path.name) as progress:
        return loading.load(path, progress=progress, **_keywords(options))


def assemble(descriptor: ModelDescriptor, options: LoadOptions) -> Model:
    """A model of a descriptor that is no file's, with the same progress bar."""
    from zigai_core.api import loading

    with LoadProgress(descriptor.name) as progress:
        return loading.assemble(descriptor, progress=progress, **_keywords(options))


def _keywords(options: LoadOptions) -> dict[str, Any]:
    return {field.name: getattr(options, field.name) for field in options.fields()}


def speculation(speculate: Speculate, draft: Path | None, options: LoadOptions) -> dict[str, Any]:
    """The keywords of a model's `generate` and `chat` that say who guesses ahead; `load` loads the draft."""
    if draft is None:
        return {"speculate": None if speculate is Speculate.OFF else speculate.value}
    if speculate is not Speculate.OFF:
        raise typer.BadParameter("--speculate and --draft are two ways to guess ahead: take one")
    return {"draft": load(draft, options)}


class LoadProgress:
    """Bytes loaded of bytes in all, as a bar that vanishes in the end. It is a `zigai_core` progress call."""

    def __init__(self, name: str) -> None:
        self._name = clean(name)
        self._began = time.monotonic()
        self._watched = has_colour(sys.stderr)
        self._bar: Progress | None = None

    def __enter__(self) -> LoadProgress:
        return self

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is."""
        if not self._watched or time.monotonic() - self._began < PATIENCE:
            return
        if self._bar is None:
            self._bar = self._start(total)
        self._bar.update(self._bar.task_ids[0], completed=done, total=total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _start(self, total: int) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("loading {task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        bar.add_task(self._name, total=total)
        bar.start()
        return bar
