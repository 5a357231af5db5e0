"""`zig-ai tokenize`: text to token ids and pieces, and back."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from zigai_cli import loader, options
from zigai_cli.failure import InputError
from zigai_cli.terminal import clean, table

if TYPE_CHECKING:
    from pathlib import Path

    from zigai_core.contracts.plugins import Tokenizer


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
    if as_json:
        tokens = [{"id": token, "piece": tokenizer.token_text(token)} for token in ids]
        sys.stdout.write(json.dumps({"text": given[0], "tokens": tokens}) + "\n")
    elif ids_only:
        sys.stdout.write(" ".join(map(str, ids)) + "\n")
    else:
        # repr shows blanks at the ends and spells out what is not printable.
        table([[str(token), repr(tokenizer.token_text(token))] for token in ids], numbers=[0])


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
