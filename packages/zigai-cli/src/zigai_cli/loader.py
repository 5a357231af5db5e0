"""Loads a model for a command, with a progress bar on a terminal."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from zigai_cli.options import Speculate
from zigai_cli.terminal.download import DownloadBar
from zigai_cli.terminal.output import clean, has_colour, note

if TYPE_CHECKING:
    from rich.progress import Progress

    from zigai_core.api.model import Model
    from zigai_core.contracts.descriptor import ModelDescriptor
    from zigai_core.contracts.load_options import LoadOptions

NOT_A_NAME = "there is no such file or folder, and it is not a name such as hf:OWNER/REPO or an alias"

INSTALL_SOURCES = "install some with: pip install --upgrade zigai-hub"

BAR_DELAY = 0.3
"""Seconds of loading before the progress bar appears."""


def choose(name: str | None) -> Path:
    """Return the path of the model of this name; downloads it, with a progress bar, if it is not here.

    For None it is the bundled model, and a line on standard error names it.
    """
    if name is not None:
        from zigai_core.api.sources import locate

        with DownloadBar() as progress:
            return locate(name, progress=progress)
    from zigai_core.api.loading import default_model

    bundled = default_model()
    note(f"no model is named, so this is {bundled.about}. To name one: --model PATH.gguf", sys.stderr)
    return bundled.path


def load(name: str | None, options: LoadOptions) -> Model:
    """Load a model. A progress bar appears on standard error if that is a terminal and loading takes long."""
    return load_file(choose(name), options)


def load_file(path: Path, options: LoadOptions) -> Model:
    """Load the model in a file or folder, as `load` does."""
    from zigai_core.api import loading

    with LoadProgress(path.name) as progress:
        return loading.load(path, progress=progress, **_keywords(options))


def assemble(descriptor: ModelDescriptor, options: LoadOptions) -> Model:
    """Make a model from a descriptor without a file, with the same progress bar as `load`."""
    from zigai_core.api import loading

    with LoadProgress(descriptor.name) as progress:
        return loading.assemble(descriptor, progress=progress, **_keywords(options))


def _keywords(options: LoadOptions) -> dict[str, Any]:
    return {field.name: getattr(options, field.name) for field in options.fields()}


def speculation(speculate: Speculate, draft: str | None, options: LoadOptions) -> dict[str, Any]:
    """Keyword arguments for `Model.generate` and `Model.chat` about draft tokens. Loads the draft model.

    Raises `typer.BadParameter` if both ways to propose draft tokens are given.
    """
    if draft is None:
        return {"speculate": None if speculate is Speculate.OFF else speculate.value}
    if speculate is not Speculate.OFF:
        raise typer.BadParameter("--speculate and --draft both propose draft tokens: give one of them")
    return {"draft": load(draft, options)}


class LoadProgress:
    """Progress bar of bytes loaded, removed at the end. An instance is a `zigai_core` progress callback."""

    def __init__(self, name: str) -> None:
        self._name = clean(name)
        self._began = time.monotonic()
        self._shown = has_colour(sys.stderr)
        self._bar: Progress | None = None

    def __enter__(self) -> LoadProgress:
        return self

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` bytes are loaded."""
        if not self._shown or time.monotonic() - self._began < BAR_DELAY:
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
