"""Warnings of core and plugins, on standard error: a line each, once, without control characters."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator

from zigai_cli.terminal.output import note

_LOG = logging.getLogger("zigai")


class WarningLog(logging.Handler):
    """Writes records to standard error, or collects those of a thread that cannot write there now."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.collected: dict[int, list[str]] = {}
        """The lines of each thread whose records are collected, by its identifier."""
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write or collect the line, if it is a new one. A closed standard error is ignored."""
        line = f"zig-ai: {' '.join(record.getMessage().split())}"
        if line in self._seen:
            return
        self._seen.add(line)
        lines = self.collected.get(threading.get_ident())
        if lines is not None:
            lines.append(line)
            return
        with contextlib.suppress(OSError):
            note(line, sys.stderr)


def show_warnings() -> None:
    """Show warnings of core and plugins from now on, unless the program that calls this one handles them."""
    if not _LOG.handlers:
        _LOG.addHandler(WarningLog())
        _LOG.propagate = False


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collects the lines of this thread in a list, where `show_warnings` would write them."""
    lines: list[str] = []
    logs = [handler for handler in _LOG.handlers if isinstance(handler, WarningLog)]
    for log in logs:
        log.collected[threading.get_ident()] = lines
    try:
        yield lines
    finally:
        for log in logs:
            log.collected.pop(threading.get_ident(), None)
