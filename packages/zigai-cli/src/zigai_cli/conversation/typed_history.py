"""The messages that were typed at a prompt, across runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from prompt_toolkit.history import FileHistory

from zigai_cli import whole_file

LONGEST = 100_000
"""Characters of the longest text that is stored."""
_MAX_BYTES = 4_000_000
_log = logging.getLogger("zigai.history")


class TypedHistory(FileHistory):
    """A history in a file that only its owner can read. One that cannot be used is a warning, once.

    When the file has become large, its older half is dropped at the next start. `expanded` gives the text to
    store for one that was typed.
    """

    def __init__(self, path: Path, expanded: Callable[[str], str] = str) -> None:
        super().__init__(str(path))
        self._path = path
        self._expanded = expanded
        self._usable = True
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | getattr(os, "O_NONBLOCK", 0), 0o600))
            if path.stat().st_size > _MAX_BYTES:
                self._shorten()
        except OSError as error:
            self._give_up(error)

    def load_history_strings(self) -> Iterable[str]:
        """The stored texts, the last one first."""
        try:
            return super().load_history_strings() if self._usable else ()
        except OSError as error:
            self._give_up(error)
            return ()

    def store_string(self, string: str) -> None:
        """Store a text, unless it is too long."""
        text = self._expanded(string)
        if not self._usable or len(text) > LONGEST:
            return
        try:
            super().store_string(text)
        except OSError as error:
            self._give_up(error)

    def _shorten(self) -> None:
        content = self._path.read_bytes()
        begin = content.find(b"\n#", len(content) // 2)
        whole_file.replace(self._path, content[begin:] if begin >= 0 else b"")

    def _give_up(self, error: OSError) -> None:
        self._usable = False
        _log.warning("%s: %s; typed messages are not stored", self._path, error.strerror or error)
