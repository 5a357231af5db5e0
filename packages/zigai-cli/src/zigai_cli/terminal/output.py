"""Terminal output: text without control characters, dim text, aligned tables, and streamed replies."""

from __future__ import annotations

import io
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def clean(text: str) -> str:
    """The text without control characters (C0 except newline and tab, DEL, C1).

    Text from a model or a file must not send escape sequences (ECMA-48) to a terminal.

    >>> clean("\\x1b[2Jwiped\\x07 out")
    '[2Jwiped out'
    """
    return text.translate(_CONTROLS)


def shortened(text: str, length: int) -> str:
    """The text as one line of at most `length` characters; one that is cut ends in `…`.

    >>> shortened("once  upon\\na time", 10)
    'once upon…'
    """
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def screen() -> TextIO:
    """The stream that writes to the user's terminal, also if standard output is a pipe or a file."""
    for stream in (sys.stdout, sys.stderr):
        if stream.isatty():
            return stream
    try:
        return Path("/dev/tty").open("w", encoding="utf-8", errors="replace")
    except OSError:
        return sys.stderr


def size(stream: TextIO) -> tuple[int, int]:
    """Columns and rows of a terminal as they are now; those of `shutil.get_terminal_size` if it is none."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, rows = shutil.get_terminal_size()
    return columns or 80, rows or 24


def has_colour(stream: TextIO) -> bool:
    """True if the stream is a terminal and neither NO_COLOR (https://no-color.org) nor TERM=dumb is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def dim(text: str, stream: TextIO) -> str:
    """The text, dim if `has_colour(stream)`."""
    return f"\x1b[2m{text}\x1b[0m" if has_colour(stream) else text


def note(text: str, stream: TextIO | None = None) -> None:
    """Write a dim line of the program's own, as opposed to the model's text.

    Default: standard output if that is a terminal, else standard error, so that a pipe gets only replies.
    On a terminal, long lines are wrapped between words.
    """
    stream = stream or (sys.stdout if sys.stdout.isatty() else sys.stderr)
    lines = clean(text).split("\n")
    if stream.isatty():
        columns = size(stream)[0]
        lines = [part for line in lines for part in wrapped(line, columns)]
    stream.write(dim("\n".join(lines), stream) + "\n")
    stream.flush()


def wrapped(line: str, columns: int) -> list[str]:
    """A line as lines of at most `columns` characters, broken between words; paths are not broken.

    >>> wrapped("the quick brown fox", 10)
    ['the quick', 'brown fox']
    """
    if len(line) <= columns:
        return [line]
    return textwrap.wrap(
        line, columns, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    ) or [line]


def figure(number: float) -> str:
    """A number with three significant digits and the unit prefix k, M or G.

    >>> figure(6_738_415_616), figure(260_032), figure(12)
    ('6.74 G', '260 k', '12')
    """
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = (), *, numbers: Sequence[int] = ()) -> None:
    """Write rows in aligned columns to standard output; columns whose index is in `numbers` align right.

    On a terminal long cells are folded to its width; elsewhere each row is one line.
    """
    from rich.console import Console  # rich takes a tenth of a second to import
    from rich.table import Table
    from rich.text import Text

    coloured = has_colour(sys.stdout)
    drawn = io.StringIO()  # not standard output: rich handles a broken pipe in its own way
    console = Console(
        file=drawn,
        width=shutil.get_terminal_size().columns if sys.stdout.isatty() else 100_000,
        color_system="standard" if coloured else None,
        force_terminal=coloured,
        highlight=False,
    )
    grid = Table(box=None, pad_edge=False, show_header=bool(header), header_style="bold")
    for index in range(len(header) or max(map(len, rows), default=0)):
        grid.add_column(
            Text(header[index]) if header else "",
            justify="right" if index in numbers else "left",
            overflow="fold",
        )
    for row in rows:
        grid.add_row(*(Text(clean(cell)) for cell in row))
    console.print(grid)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in drawn.getvalue().split("\n")[:-1]))


class ReplyWriter:
    """Writes a reply as it is generated, without control characters; a spinner is shown until it begins.

    `spinner=False` shows none.
    """

    def __init__(self, stream: TextIO, *, spinner: bool) -> None:
        self._stream = stream
        self._frames = "|/-\\" if spinner and os.environ.get("TERM") != "dumb" else ""
        self._turns = 0
        self._begun = False
        self._line_open = False
        self._aside = False

    def wait(self) -> None:
        """Advance the spinner, if no text was written yet. To be called while no piece arrives."""
        if self._frames and not self._begun:
            self._stream.write(f"{self._frames[self._turns % len(self._frames)]}\b")
            self._stream.flush()
            self._turns += 1

    def write(self, piece: str, *, aside: bool = False) -> None:
        """Write a piece and flush. `aside` text (reasoning) is dim, with an empty line after it."""
        piece = clean(piece)
        if piece:
            self._clear_spinner()
            self._begun = True
            if self._aside and not aside:
                self._stream.write("\n\n")
            self._aside = aside
            self._stream.write(dim(piece, self._stream) if aside else piece)
            self._stream.flush()
            self._line_open = not piece.endswith("\n")

    def end(self, *, interrupted: bool = False) -> None:
        """End the reply's last line, if it is open. After an interrupt a terminal has ^C on it."""
        self._clear_spinner()
        if self._line_open or (interrupted and self._stream.isatty()):
            self._stream.write("\n")
        self._line_open = False
        self._stream.flush()

    def _clear_spinner(self) -> None:
        if self._turns and not self._begun:
            self._stream.write(" \b")
            self._turns = 0
