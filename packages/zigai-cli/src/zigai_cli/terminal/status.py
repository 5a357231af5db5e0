"""A line of progress that is written over itself and erased at the end."""

from __future__ import annotations

from types import TracebackType
from typing import TextIO

from zigai_cli.terminal.output import dim, has_colour, size


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
        """Replace the line. What does not fit is left out, since only one row can be replaced."""
        if self.moves:
            from rich.cells import set_cell_size  # rich takes long to import

            fitting = set_cell_size(text, size(self._stream)[0] - 1).rstrip()
            self._stream.write(f"\r{dim(fitting, self._stream)}\x1b[K")
            self._stream.flush()

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.moves:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
