"""A line of progress that is written over itself and erased at the end."""

from __future__ import annotations

from types import TracebackType
from typing import TextIO

from zigai_cli.terminal.output import dim, has_colour


class StatusLine:
    """A context manager: a line of a terminal. Elsewhere nothing is shown.

    >>> with StatusLine(sys.stderr) as status:     # doctest: +SKIP
    ...     status.show("1 of 2")
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.moves = has_colour(stream)
        """True if the line can be written over."""

    def show(self, text: str) -> None:
        """Replace the line."""
        if self.moves:
            self._stream.write(f"\r{dim(text, self._stream)}\x1b[K")
            self._stream.flush()

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.moves:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
