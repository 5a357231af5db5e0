"""`zig-ai tokenize`: text to token ids and pieces, and back."""

from __future__ import annotations

import json
import re
import sys
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from zigai_cli import loader, options
from zigai_cli.failure import InputError
from zigai_cli.terminal import clean, table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from zigai_core.contracts.plugins import Tokenizer

TABLE_ROWS = 1000
"""Tokens that are shown as a table, folded to a terminal's width; more are written line by line."""

PARTS_AT_A_TIME = 4096


def tokenize(
    model: options.Model = None,
    arguments: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="TEXT", help="The text, or with --decode the ids; without, standard input is read."
        ),
    ] = None,
    special: Annotated[
        bool, typer.Option("--special", help="Control tokens in the text (</s>) are those tokens.")
    ] = False,
    no_bos: Annotated[
        bool,
        typer.Option("--no-bos", help="No beginning-of-sequence token, even where the file asks for one."),
    ] = False,
    ids_only: Annotated[bool, typer.Option("--ids-only", help="Print the ids alone, in one line.")] = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="The other way: print the text of token ids.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Split a text into a model's tokens, or join them.

    Only the tokenizer is loaded. One newline at the end of a text from standard input is not part of it.
    """
    given = list(arguments or [])
    if not decode and len(given) > 1:
        raise typer.BadParameter("give one text, in quotes; several words are several arguments")
    if not given:
        if sys.stdin.isatty():
            raise typer.BadParameter("give a text, as an argument or through standard input")
        read = sys.stdin.read()
        given = [read[:-1] if read.endswith("\n") else read]
    if decode:
        ids = [number for part in given for number in _ids(part)]
        text = _tokenizer(model).decode(ids, special=special)
        sys.stdout.write(json.dumps({"ids": ids, "text": text}) + "\n" if as_json else clean(text) + "\n")
        return
    tokenizer = _tokenizer(model)
    ids = tokenizer.encode(given[0], special=special, bos=False if no_bos else None)
    # Piece by piece, because rows of millions of tokens take gigabytes.
    if as_json:
        pairs = ({"id": token, "piece": tokenizer.token_text(token)} for token in ids)
        _write(f'{{"text": {json.dumps(given[0])}, "tokens": [', ", ", map(json.dumps, pairs), "]}\n")
    elif ids_only:
        _write("", " ", map(str, ids), "\n")
    elif len(ids) <= TABLE_ROWS:
        # repr shows blanks at the ends and spells out what is not printable.
        table([[str(token), repr(tokenizer.token_text(token))] for token in ids], numbers=[0])
    else:
        width = len(str(max(ids)))
        _write("", "", (f"{token:>{width}}  {tokenizer.token_text(token)!r}\n" for token in ids), "")


def _write(before: str, between: str, parts: Iterable[str], after: str) -> None:
    """Writes the parts to standard output, some thousand at a time."""
    remaining = iter(parts)
    sys.stdout.write(before)
    separator = ""
    while some := list(islice(remaining, PARTS_AT_A_TIME)):
        sys.stdout.write(separator + between.join(some))
        separator = between
    sys.stdout.write(after)


def _tokenizer(path: Path | None) -> Tokenizer:
    from zigai_core.api import loading
    from zigai_core.api.registry import Plugins

    path = loader.choose(path)
    plugins = Plugins.installed()
    descriptor = loading.read(path, plugins=plugins)
    if descriptor.tokenizer is None:
        raise InputError(f"{path}: the file holds no tokenizer")
    return plugins.tokenizers.get(descriptor.tokenizer.kind)(descriptor.tokenizer)


def _ids(text: str) -> list[int]:
    """Numbers with blanks, commas or brackets between them."""
    parts = re.sub(r"[\[\],]", " ", text).split()
    for part in parts:
        if not re.fullmatch(r"[0-9]{1,12}", part):
            raise InputError(f"{part!r} is no token id: --decode takes whole numbers")
    return [int(part) for part in parts]
