"""`zig-ai tokenize`: converts text to token ids and pieces, and back."""

from __future__ import annotations

import json
import re
import sys
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from zigai_cli import input_text, loader, options
from zigai_cli.failure import InputError
from zigai_cli.terminal.output import clean, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zigai_core.contracts.plugins import Tokenizer

TABLE_ROWS = 1000
"""Most tokens shown as a table folded to the terminal's width; more are written line by line."""

PARTS_PER_WRITE = 4096


def tokenize(
    model: options.Model = None,
    arguments: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="TEXT",
            help="The text to convert, or with --decode the token ids.",
            show_default="standard input",
        ),
    ] = None,
    special: Annotated[
        bool,
        typer.Option("--special", help="Recognise control tokens such as </s>; with --decode, print them."),
    ] = False,
    no_bos: Annotated[
        bool,
        typer.Option("--no-bos", help="Add no beginning-of-sequence token, even if the file asks for one."),
    ] = False,
    ids_only: Annotated[
        bool, typer.Option("--ids-only", help="Print only the token ids, on one line.")
    ] = False,
    decode: Annotated[bool, typer.Option("--decode", help="Convert token ids to text.")] = False,
    as_json: options.Json = False,
) -> None:
    """Convert text to a model's token ids, or token ids to text.

    Only the tokenizer is loaded. One newline at the end of standard input is removed.
    """
    given = list(arguments or [])
    if decode and (ids_only or no_bos):
        raise typer.BadParameter("--decode prints text: --ids-only and --no-bos do not apply to it")
    if not decode and len(given) > 1:
        raise typer.BadParameter("more than one text: put several words in quotes")
    given = [input_text.encodable("the text", text) for text in given]
    if not given:
        if sys.stdin.isatty():
            raise typer.BadParameter("no text: give one as an argument or through standard input")
        given = [input_text.read_standard_input()]
    if decode:
        ids = [number for part in given for number in _ids(part)]
        text = _tokenizer(model).decode(ids, special=special)
        sys.stdout.write(json.dumps({"ids": ids, "text": text}) + "\n" if as_json else clean(text) + "\n")
        return
    tokenizer = _tokenizer(model)
    ids = tokenizer.encode(given[0], special=special, bos=False if no_bos else None)
    # Generators, because a list of rows for millions of tokens takes gigabytes.
    if as_json:
        pairs = ({"id": token, "piece": tokenizer.token_text(token)} for token in ids)
        _write(f'{{"text": {json.dumps(given[0])}, "tokens": [', ", ", map(json.dumps, pairs), "]}\n")
    elif ids_only:
        _write("", " ", map(str, ids), "\n")
    elif len(ids) <= TABLE_ROWS:
        # repr shows blanks at both ends and escapes characters that are not printable.
        table([[str(token), repr(tokenizer.token_text(token))] for token in ids], numbers=[0])
    else:
        width = len(str(max(ids)))
        _write("", "", (f"{token:>{width}}  {tokenizer.token_text(token)!r}\n" for token in ids), "")


def _write(before: str, between: str, parts: Iterable[str], after: str) -> None:
    """Write the parts to standard output, `PARTS_PER_WRITE` at a time."""
    remaining = iter(parts)
    sys.stdout.write(before)
    separator = ""
    while some := list(islice(remaining, PARTS_PER_WRITE)):
        sys.stdout.write(separator + between.join(some))
        separator = between
    sys.stdout.write(after)


def _tokenizer(name: str | None) -> Tokenizer:
    from zigai_core.api import loading
    from zigai_core.api.registry import Plugins

    path = loader.choose(name)
    plugins = Plugins.installed()
    descriptor = loading.read(path, plugins=plugins)
    if descriptor.tokenizer is None:
        raise InputError(f"{path}: the file holds no tokenizer")
    return plugins.tokenizers.get(descriptor.tokenizer.kind)(descriptor.tokenizer)


def _ids(text: str) -> list[int]:
    """Parse whole numbers separated by blanks, commas or brackets. Raises `InputError` for anything else."""
    parts = re.sub(r"[\[\],]", " ", text).split()
    for part in parts:
        if not re.fullmatch(r"[0-9]{1,12}", part):
            raise InputError(f"{part!r} is not a token id: --decode takes whole numbers of at least 0")
    return [int(part) for part in parts]
