"""The text that a command is given: words on the command line, standard input, or both."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from zigai_cli.failure import InputError

MAX_BYTES = 64 << 20
"""Largest standard input, in bytes: larger than any context, and small enough to hold."""
STANDARD_INPUT = "-"
"""Argument that stands for standard input, also if that is a terminal."""


def read(words: Sequence[str], *, empty: str) -> str:
    """The prompt: standard input unless it is a terminal, then the words, separated by an empty line.

    The words are joined by spaces; `-` alone is standard input. One newline at the end of standard input is
    removed. Raises `typer.BadParameter` with the text `empty` if there is no prompt or only white space, or
    if the words begin with a model file; `InputError` if standard input cannot be used.
    """
    typed = list(words)
    explicit = typed == [STANDARD_INPUT]
    if explicit:
        typed = []
    refuse_model_file(typed)
    parts = [] if sys.stdin.isatty() and not explicit else [read_standard_input()]
    parts.append(" ".join(encodable("the prompt", word) for word in typed))
    parts = [part for part in parts if part.strip()]
    if not parts:
        raise typer.BadParameter(empty)
    return "\n\n".join(parts)


def read_standard_input() -> str:
    """All of standard input, without one newline at its end. Raises what `read_file` raises."""
    return _standard_input().replace("\r\n", "\n").removesuffix("\n")


def read_file(name: str) -> str:
    """The text of a file in UTF-8, or all of standard input for `-`.

    Raises `InputError` for what is not text, `OSError`, and for standard input `InputError` if it is larger
    than `MAX_BYTES`, and `typer.BadParameter` if it is a terminal.
    """
    if name == STANDARD_INPUT:
        if sys.stdin.isatty():
            raise typer.BadParameter("no text: name a file, or give the text through standard input")
        return _standard_input()
    try:
        return Path(name).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8 text (at byte {error.start}): convert it, or name another file"
        ) from error


def lines(name: str, *, none: str, empty: str) -> list[str]:
    """The lines of a file in UTF-8, or of standard input for `-`.

    Raises `InputError` with the text `none` if there are none, and with `empty` and its number for an empty
    line, since line numbers would no longer agree without it; and what `read_file` raises.
    """
    text = read_file(name)
    found = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    where = "standard input" if name == STANDARD_INPUT else name
    if not found:
        raise InputError(f"{where}: {none}")
    for number, line in enumerate(found, start=1):
        if not line.strip():
            raise InputError(f"{where}, line {number}: {empty}: remove it")
    return found


def _standard_input() -> str:
    try:
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"standard input cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"standard input is larger than {MAX_BYTES >> 20} MiB, the limit for a prompt")
    encoding = sys.stdin.encoding
    if encoding.lower() in ("ascii", "ansi_x3.4-1968", "us-ascii"):
        encoding = "utf-8"  # includes ASCII, which Python chooses where the locale names no encoding
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"standard input is not {error.encoding} text (at byte {error.start}): "
            "convert it, for example with iconv"
        ) from error


def encodable(what: str, text: str) -> str:
    """Return a text of the command line. Raises `typer.BadParameter`, which names `what`, if it is none.

    In a locale whose encoding is not UTF-8, words in UTF-8 come as lone surrogates, which are decoded here.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        try:
            return os.fsencode(text).decode("utf-8")
        except UnicodeError:
            raise typer.BadParameter(f"{what} is not UTF-8 text (at character {error.start})") from error
    return text


def refuse_model_file(words: Sequence[str]) -> None:
    """Raise `typer.BadParameter` if the first word is a file or folder that an installed format reads."""
    if not words or not _is_model(words[0]):
        return
    raise typer.BadParameter(f"{words[0]} is a model, not a prompt: give it as --model {words[0]}")


def _is_model(word: str) -> bool:
    path = Path(word)
    try:
        if not (path.is_file() or path.is_dir()):
            return False
    except (OSError, ValueError):  # too long, or with a NUL: not a path
        return False
    from zigai_core.api.registry import Plugins

    formats = Plugins.installed().formats
    for name in formats:
        try:
            if formats.get(name)().recognises(path):
                return True
        except Exception:  # a plugin's error is reported where the model is loaded
            continue
    return False
