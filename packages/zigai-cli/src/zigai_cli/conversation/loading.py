"""A model that is loaded in a thread of its own while the user types."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from zigai_cli.terminal.output import clean, note
from zigai_cli.terminal.warning_log import collected_warnings

if TYPE_CHECKING:
    from zigai_core.api.chat import Chat
    from zigai_core.contracts.options import SamplingOptions
    from zigai_core.contracts.plugins import Progress, Tokenizer


@dataclass(frozen=True)
class Located:
    """A model that is on this machine."""

    path: Path
    name: str | None = None
    """The model as another run finds it, from any folder; None for the one that comes with zigai."""
    remark: str = ""
    """What the user should know about the choice, as a line."""


@dataclass(frozen=True)
class Ready:
    """A model that is loaded, and a chat with it."""

    talk: Chat
    tokenizer: Tokenizer
    defaults: SamplingOptions
    """The sampling options of replies for which none are given."""
    heading: str
    """Lines that name model, backend and chat template."""
    remarks: tuple[str, ...] = ()
    """What the user should know about this model and about loading it, each as a line."""
    name: str | None = None
    """As in `Located`."""
    about: Mapping[str, str] = field(default_factory=dict)
    """Names of the model and the backend, for JSON."""


class Opener(Protocol):
    """Opens a model in two steps: where it is, which may ask the network, and loading it."""

    def choose(self, name: str | None) -> Located:
        """Returns where a model is; downloads it if it is not here. None is the one that comes with zigai."""
        ...

    def open(self, located: Located, progress: Progress | None) -> Ready:
        """Loads a model and begins a chat with it."""
        ...


class Loading:
    """A model on its way. `start` begins to load it; until then nothing happens.

    Without `located` it is the model that comes with zigai.
    """

    def __init__(self, opener: Opener, located: Located | None = None) -> None:
        self._located = located
        self._opener = opener
        self._name = "the model" if located is None else clean(located.path.name)
        self._percent = ""
        self._ready: Ready | None = None
        self._error: BaseException | None = None
        self._warnings: list[str] = []
        self._thread = threading.Thread(target=self._work, name="zig-ai loading", daemon=True)

    @property
    def done(self) -> bool:
        """True after loading has ended, with a model or an error."""
        return self._ready is not None or self._error is not None

    @property
    def text(self) -> str:
        """What is loaded and how much of it, in a few words."""
        name = self._name if len(self._name) <= 24 else f"{self._name[:12]}…{self._name[-11:]}"
        return f"loading {name}{self._percent}"

    def start(self) -> None:
        """Begin to load, if that was not done."""
        if self._thread.ident is None:
            self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for so long; returns `done`."""
        self._thread.join(seconds)
        return self.done

    def result(self) -> Ready:
        """The model. Raises the error of loading, after its warnings; call it when `done`."""
        if self._error is not None:
            while self._warnings:
                note(self._warnings.pop(0), sys.stderr)
            raise self._error
        assert self._ready is not None
        return self._ready

    def _work(self) -> None:
        try:
            with collected_warnings() as self._warnings:  # the user types: nothing may be written now
                located = self._opener.choose(None) if self._located is None else self._located
                self._name = clean(located.path.name)
                ready = self._opener.open(located, self._show)
            self._ready = replace(ready, remarks=(*ready.remarks, *self._warnings))
        except BaseException as error:  # raised again by `result`
            self._error = error

    def _show(self, done: int, total: int) -> None:
        if total:
            self._percent = f" {100 * done // total}%"
