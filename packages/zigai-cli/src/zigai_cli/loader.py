"""Loads a model for a command, with a progress bar on a terminal."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from zigai_cli import memory_limit
from zigai_cli.failure import InputError
from zigai_cli.options import Speculate
from zigai_cli.settings import config_file, settable
from zigai_cli.terminal.download import DownloadBar
from zigai_cli.terminal.output import clean, has_colour, note

if TYPE_CHECKING:
    from rich.progress import Progress

    from zigai_core.api.model import Model
    from zigai_core.contracts.descriptor import ModelDescriptor
    from zigai_core.contracts.load_options import LoadOptions
    from zigai_core.contracts.plugins import Progress as LoadCallback

BAR_DELAY = 0.3
"""Seconds of loading before the progress bar appears."""

SLOW_PACKING = 3.0
"""Seconds of packing from which a note says how to keep the packed weights."""


def default_name() -> str | None:
    """The model that the user's settings name, or None."""
    configured = config_file.read().get("model")
    return None if configured is None else settable.expanded(str(configured.value))


def choose(name: str | None) -> Path:
    """Return the path of the model of this name, as `locate` does.

    For None it is the model of the user's settings, or else the bundled one, which a note on standard error
    describes.
    """
    name = default_name() if name is None else name
    if name is not None:
        return locate(name)
    path, about = bundled()
    note(about, sys.stderr)
    return path


def bundled() -> tuple[Path, str]:
    """The path of the model that comes with zigai, and what it is and how to name another."""
    memory_limit.check()  # before numpy is imported, which ends the process without memory
    from zigai_core.api.loading import default_model

    model = default_model()
    larger = f"\nfor a real one: {model.larger}" if model.larger else ""
    return model.path, f"no model is named, so this is {model.about}. To name one: --model PATH.gguf{larger}"


def locate(name: str) -> Path:
    """Return the path of the model of this name; downloads it, with a progress bar, if it is not here."""
    if not name:
        raise InputError("the name of a model is empty")
    memory_limit.check()  # before numpy is imported, which ends the process without memory
    path = _located(name)
    memory_limit.check(path)
    return path


def from_anywhere(name: str) -> str:
    """The name of a model by which it is found from any folder: a path becomes absolute."""
    return str(Path(name).absolute()) if _exists(name) else name


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long, or with a NUL: `locate` has the error
        return False


def _located(name: str) -> Path:
    if _exists(name):  # before core is imported, which takes long
        return Path(name)
    from zigai_core.api.sources import locate

    with DownloadBar() as progress:
        return locate(name, progress=progress)


def load(name: str | None, options: LoadOptions, progress: LoadCallback | None = None) -> Model:
    """Load a model; `progress` is called with the bytes done and in all.

    Without it a progress bar appears on standard error, if that is a terminal and loading takes long.
    """
    return load_file(choose(name), options, progress)


def load_file(path: Path, options: LoadOptions, progress: LoadCallback | None = None) -> Model:
    """Load the model in a file or folder, as `load` does."""
    from zigai_core.api import loading

    if progress is not None:
        return loading.load(path, progress=progress, **_keywords(options))
    with LoadProgress(path.name) as bar:
        model = loading.load(path, progress=bar, **_keywords(options))
    remark = packing_remark(model, bar.seconds, options)
    if remark and sys.stderr.isatty():
        note(remark, sys.stderr)
    return model


def packing_remark(model: Model, seconds: float, options: LoadOptions) -> str:
    """How to keep packed weights, if packing them took long and they are not kept; else empty."""
    kept = options.settings.get("packed_cache") or os.environ.get("ZIGAI_PACKED_CACHE")
    if kept or seconds <= SLOW_PACKING or model.backend != "native":
        return ""
    return (
        f"packing the weights took {seconds:.0f} s; --packed-cache FOLDER keeps them for the next start "
        "(zig-ai config set packed_cache FOLDER for every start)"
    )


def assemble(descriptor: ModelDescriptor, options: LoadOptions) -> Model:
    """Make a model from a descriptor without a file, with the same progress bar as `load`."""
    from zigai_core.api import loading

    with LoadProgress(descriptor.name) as progress:
        return loading.assemble(descriptor, progress=progress, **_keywords(options))


def _keywords(options: LoadOptions) -> dict[str, Any]:
    return {field.name: getattr(options, field.name) for field in options.fields()}


def speculation(
    speculate: Speculate, draft: str | None, options: LoadOptions, progress: LoadCallback | None = None
) -> dict[str, Any]:
    """Keyword arguments for `Model.generate` and `Model.chat` about draft tokens. Loads the draft model."""
    if draft is None:
        return {"speculate": None if speculate is Speculate.OFF else speculate.value}
    return {"draft": load(draft, options, progress)}


class LoadProgress:
    """Progress bar of bytes loaded, removed at the end. An instance is a `zigai_core` progress callback.

    With `show` there is no bar: it is called instead, with the bytes done and in all.
    """

    def __init__(self, name: str, show: LoadCallback | None = None) -> None:
        self._name = clean(name)
        self._show = show
        self._began = time.monotonic()
        self._shown = has_colour(sys.stderr)
        self._bar: Progress | None = None
        self._first: float | None = None
        self.seconds = 0.0
        """Time from the first progress to the last."""

    def __enter__(self) -> LoadProgress:
        return self

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` bytes are loaded."""
        now = time.monotonic()
        self._first = now if self._first is None else self._first
        self.seconds = now - self._first
        if self._show is not None:
            self._show(done, total)
        if self._show is not None or not self._shown or now - self._began < BAR_DELAY:
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
