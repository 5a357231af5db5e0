"""Draws Markdown as it arrives: finished blocks stay, and only the changed lines of the open one are redrawn.

Blocks are found with markdown-it-py (CommonMark, tables, strikethrough; HTML is text) and rendered with rich.
What may be redrawn is never more than the screen holds, since lines that have scrolled off it cannot change.
"""

from __future__ import annotations

import io
import itertools
import re
import time
from typing import TextIO

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown
from rich.syntax import Syntax

from zigai_cli.terminal.output import clean, dim, size

DRAW_SECONDS = 0.05
"""Least time between two drawings of the open block."""
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
MOST_ROWS = 8
"""Rows of the longest line of code that is left to the terminal: what may change must be on the screen."""
_SEQUENCES = re.compile(r"\x1b\[[0-9;]*m")
_EMPTY = re.compile(r"(\s|\x1b\[[0-9;]*m)*")


class _Heading(Heading):
    """A heading on the left."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "default"
        self.text.stylize("bold underline" if self.tag == "h1" else "bold")
        yield self.text


class _CodeBlock(CodeBlock):
    """Highlighted code without background and padding, so that a copied line is a line of the code.

    Long lines are left to the terminal, which copies what it breaks as one line. Those in lists and
    quotations, which have something on their left, are broken here.
    """

    nested = False

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _CodeBlock:
        """Return the element of a token."""
        block = super().create(markdown, token)
        assert isinstance(block, cls)
        block.nested = token.level > 0
        return block

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        longest = max(map(cell_len, code.expandtabs(4).split("\n")))
        most = max(1, min(MOST_ROWS, options.max_height // 2 - 1))
        breaks = self.nested or longest > most * options.max_width
        yield Syntax(
            code,
            self.lexer_name,
            theme="ansi_dark",
            word_wrap=breaks,
            code_width=None if breaks else max(longest, options.max_width),
            background_color="default",
        )


class _Document(Markdown):
    """Markdown with the elements above, and no text lost: HTML is shown as it is written.

    A line of the source is a line on the screen, since models write verses and addresses so.
    """

    elements = {  # noqa: RUF012 - rich declares it so
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _CodeBlock,
        "code_block": _CodeBlock,
    }

    def __init__(self, text: str) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = _PARSER.parse(text)
        for token in self.parsed:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"


def render(text: str, width: int, rows: int = 24) -> list[str]:
    """Returns the lines of a text in Markdown for a terminal of `width` columns, with SGR sequences only.

    Lines of code may be longer than the terminal is wide.
    """
    drawn = io.StringIO()
    console = Console(
        file=drawn,
        width=max(width, 8),
        height=rows,
        force_terminal=True,
        color_system="standard",
        highlight=False,
    )
    console.print(_Document(clean(text)), crop=False)
    lines = [line.rstrip() for line in drawn.getvalue().split("\n")]
    # rich puts empty lines around lists and tables, some with the sequences of a style.
    full = [place for place, line in enumerate(lines) if not _EMPTY.fullmatch(line)]
    return lines[full[0] : full[-1] + 1] if full else []


def blocks(text: str) -> list[str]:
    """Returns the parts of a text that are a block of Markdown each; all but the last are complete.

    >>> blocks("# Title\\n\\none\\ntwo")
    ['# Title\\n\\n', 'one\\ntwo']
    """
    lines = text.split("\n")
    starts = [token.map[0] for token in _PARSER.parse(text) if token.level == 0 and token.map]
    places = [0, *sorted({*starts[1:]} - {0}), len(lines)]
    parts = ["\n".join(lines[begin:end]) for begin, end in itertools.pairwise(places)]
    return [f"{part}\n" for part in parts[:-1]] + parts[-1:]


def rows_of(line: str, columns: int) -> int:
    """The rows that a line takes on a terminal, which breaks it where a character does not fit.

    >>> rows_of("\\x1b[1mabcdef\\x1b[0m", 3), rows_of("", 3), rows_of("日本語", 5)
    (2, 1, 2)
    """
    text = _SEQUENCES.sub("", line)
    if cell_len(text) <= columns:
        return 1
    rows, used = 1, 0
    for character in text:
        wide = cell_len(character)
        if used + wide > columns:
            rows, used = rows + 1, 0
        used += wide
    return rows


class MarkdownWriter:
    """Writes a reply in Markdown to a terminal. Reasoning is dim, and as it is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begin()

    def _begin(self) -> None:
        self._source = ""  # the open block
        self._shown: list[str] = []  # its lines on the screen that may still change
        self._fixed = 0  # the number of its lines above those
        self._drawn = 0.0
        self._columns = size(self._stream)[0]
        self._begun = False  # True once the open block has lines
        self._blocks = 0
        self._aside = False
        self._spinner = 0

    def wait(self) -> None:
        """Draw what has come since the last drawing, or turn the spinner before the first piece."""
        if self._source:
            self._draw()
        elif not self._blocks and not self._aside:
            self._stream.write("|/-\\"[self._spinner % 4] + "\b")
            self._spinner += 1
            self._stream.flush()

    def write(self, piece: str, *, aside: bool = False) -> None:
        """Write a piece of the reply; `aside` is reasoning."""
        piece = clean(piece)
        if not piece:
            return
        if self._spinner:
            self._stream.write(" \b")
            self._spinner = 0
        if aside:
            self._aside = True
            self._stream.write(dim(piece, self._stream))
            self._stream.flush()
            return
        if self._aside:
            self._stream.write("\n\n")
            self._aside = False
        self._source += piece if self._source else piece.lstrip("\n")
        if time.monotonic() - self._drawn >= DRAW_SECONDS:
            self._draw()

    def restart(self) -> None:
        """Write the open block anew, below what other programs have written to the terminal meanwhile."""
        self._stream.write("\r")
        self._shown, self._spinner = [], 0

    def end(self, *, interrupted: bool = False) -> None:
        """Draw what is left and end the last line."""
        if self._spinner:
            self._stream.write(" \b")
        if self._source:
            self._draw()
        if self._shown or self._aside or interrupted:
            self._stream.write("\n")
        self._stream.flush()
        self._begin()

    def _draw(self) -> None:
        *complete, self._source = blocks(self._source)
        for block in complete:
            self._update(block, last=True)
        self._update(self._source, last=False)
        self._stream.flush()
        self._drawn = time.monotonic()

    def _update(self, text: str, *, last: bool) -> None:
        """Change the lines on the screen to those of `text`; `last` ends the block with them."""
        columns, rows = size(self._stream)
        if columns != self._columns:
            self._resize(columns, rows)
        lines = render(text, columns, rows)
        if lines and not self._begun:
            self._begun = True
            if self._blocks:
                self._stream.write("\n")  # an empty line between blocks
        wanted = lines[self._fixed :]
        same = next(
            (i for i, (old, new) in enumerate(zip(self._shown, wanted, strict=False)) if old != new),
            min(len(self._shown), len(wanted)),
        )
        if same < max(len(self._shown), len(wanted)):
            self._move(same, wanted)
        self._shown = wanted
        taken = sum(rows_of(line, columns) for line in self._shown)
        while taken > rows - 1 and len(self._shown) > 1:
            taken -= rows_of(self._shown.pop(0), columns)
            self._fixed += 1
        if last and lines:
            self._stream.write("\n")
            self._blocks += 1
            self._shown, self._fixed, self._begun = [], 0, False

    def _resize(self, columns: int, rows: int) -> None:
        """Erase the open block after the terminal's width was changed, and write all of it anew.

        Terminals break lines again that have become too long, so each may take several rows.
        """
        if self._shown:
            taken = sum(rows_of(line, columns) for line in self._shown)
            up = min(taken, rows) - 1
            self._stream.write("\r" + (f"\x1b[{up}A" if up else "") + "\x1b[J")
            self._shown, self._fixed = [], 0
        self._columns = columns

    def _move(self, same: int, wanted: list[str]) -> None:
        """Keep the first `same` of the lines shown and write the others anew. The cursor is on the last."""
        shown = self._shown
        if not shown:
            self._stream.write("\n".join(wanted))
            return
        if same == len(shown):  # new lines below
            self._stream.write("".join(f"\n{line}" for line in wanted[same:]))
            return
        up = sum(rows_of(line, self._columns) for line in shown[same:]) - 1
        self._stream.write("\r" + (f"\x1b[{up}A" if up else ""))
        below = "\x1b[J" if up else "\x1b[K"
        if wanted[same:]:
            first = wanted[same]
            if up == 0 and first.startswith(shown[same]):  # text was added to the last line
                self._stream.write("\n".join([first, *wanted[same + 1 :]]))
            else:
                self._stream.write(below + "\n".join(wanted[same:]))
        else:
            self._stream.write(below + ("\x1b[A" if same else ""))
