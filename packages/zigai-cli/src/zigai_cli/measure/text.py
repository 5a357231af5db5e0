"""Text to measure with: a file, standard input, or a passage of the program's own."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from zigai_cli.failure import InputError

PASSAGE = """\
The harbour of the old town lies open to the west. In the morning the boats come back with their catch, and
the market opens before the sun has dried the stones. A fisherman counts baskets: 48 of herring, 17 of cod.
"The wind will turn," says the woman who mends the nets, "so bring them in before noon." Behind the church a
teacher writes on the blackboard: if 3 boats carry 24 baskets each, how many baskets do they carry together?
One child answers at once, 72, and looks out of the window again.

def total(boats: int, baskets: int) -> int:
    return boats * baskets
"""
"""A passage of prose, figures and code, for comparisons without a text of the user's."""


def read_text(name: str) -> str:
    """Read the text of a file, or of standard input for `-`.

    Raises `InputError` for text that is not UTF-8, and `typer.BadParameter` if standard input is a terminal.
    """
    if name == "-":
        if sys.stdin.isatty():
            raise typer.BadParameter("no text: name a file, or give the text through standard input")
        where, data = "standard input", sys.stdin.buffer.read()
    else:
        where, data = name, Path(name).read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where} is not UTF-8 text (at byte {error.start}): convert it, or name another file"
        ) from error
