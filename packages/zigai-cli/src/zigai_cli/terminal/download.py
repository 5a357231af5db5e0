"""Progress of downloads: a bar with rate and time left on a terminal, otherwise a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from zigai_cli.terminal.output import clean, figure, has_colour, note

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_EVERY = 10.0
"""Seconds between two lines about one file."""


class DownloadBar:
    """Shows progress on standard error. An instance is a callback of `zigai_core.contracts.sources`."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._lines: dict[str, tuple[float, float, int]] = {}
        self._drawn = has_colour(sys.stderr)

    def __enter__(self) -> DownloadBar:
        return self

    def __call__(self, name: str, done: int, total: int) -> None:
        """Show that `done` of `total` bytes of a file are here; a total of 0 is unknown."""
        if self._drawn:
            self._draw(clean(name), done, total)
        else:
            self._write(clean(name), done, total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def _draw(self, name: str, done: int, total: int) -> None:
        if self._bars is None:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )
            from rich.table import Column

            self._bars = Progress(
                TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
                BarColumn(bar_width=20),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(compact=True),
                console=Console(stderr=True),
                expand=True,
            )
            self._bars.start()
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total or None, completed=done)
        self._bars.update(self._tasks[name], completed=done, total=total or None)

    def _write(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        began, last, first = self._lines.get(name, (now, -LINE_EVERY, done))
        if now - last < LINE_EVERY and not (0 < total <= done and done != first):
            return
        rate = (done - first) / (now - began) if now > began else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate and total > done else ""
        share = f"{figure(done)}B of {figure(total)}B" if total else f"{figure(done)}B"
        speed = f", {figure(rate)}B/s" if rate else (", resumed" if first else "")
        note(f"{name}: {share}{speed}{left}", sys.stderr)
        self._lines[name] = (began, now, first)
