"""`zig-ai embed`: vectors that stand for texts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from zigai_cli import input_text, loader, options, whole_file
from zigai_cli.load_options import DEFAULTS, with_load_options
from zigai_cli.terminal.output import clean, table
from zigai_core.contracts.load_options import LoadOptions
from zigai_core.contracts.pooling import PoolKind

if TYPE_CHECKING:
    from zigai_core.api.model import Model

TOGETHER = 64
"""Texts that are computed and printed together."""
SHOWN = 24
"""Characters of a text that stand in the head of the table of similarities."""


@with_load_options()
def embed(
    texts: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="TEXT", help="Texts to embed.", show_default="lines of standard input"),
    ] = None,
    model: options.Model = None,
    file: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="FILE", help="Embed each line of a file; - is standard input."),
    ] = None,
    pooling: Annotated[
        Optional[PoolKind],  # noqa: UP045
        typer.Option(
            help="Take the hidden state of the last token, of the first (cls), or their mean.",
            show_default="the model's own, else last",
        ),
    ] = None,
    no_normalize: Annotated[
        bool, typer.Option("--no-normalize", help="Leave the vectors at their own length instead of 1.")
    ] = False,
    similarity: Annotated[
        bool, typer.Option("--similarity", help="Print the cosine of the angle of every two texts instead.")
    ] = False,
    npy: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE.npy", help="Write a numpy array, a row for each text, instead of text."),
    ] = None,
    load: LoadOptions = DEFAULTS,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print a JSON object a line for each text; one in all with --similarity."
        ),
    ] = False,
) -> None:
    """Compute embeddings of texts: a line of numbers for each.

    Empty lines of a file or of standard input are an error, because line numbers would no longer agree.
    """
    if texts and file is not None:
        raise typer.BadParameter("texts are given twice: as arguments and with --file")
    if npy is not None and (similarity or as_json):
        raise typer.BadParameter("--npy writes a file: --json and --similarity do not apply to it")
    if similarity and no_normalize:
        raise typer.BadParameter("--similarity does not depend on lengths: leave out --no-normalize")
    if npy is not None:
        whole_file.check_folder("--npy", npy)
    if not texts and file is None and sys.stdin.isatty():
        raise typer.BadParameter("no text: give TEXT, --file FILE, or lines through standard input")
    given = [input_text.encodable("a text", text) for text in texts or ()] or input_text.lines(
        file or "-", none="no text to embed", empty="an empty line has no embedding"
    )
    loaded = loader.load(model, load)
    parts = _embed(loaded, given, pooling, normalize=not no_normalize)
    if npy is None and not similarity:
        for text, row in parts:
            numbers = [float(number) for number in row]
            line = json.dumps({"text": text, "embedding": numbers}) if as_json else _text(row)
            sys.stdout.write(line + "\n")
        return
    import numpy as np

    rows = list(parts)
    vectors = np.stack([row for _, row in rows])
    if npy is not None:
        with whole_file.named(npy), npy.open("wb") as out:  # np.save would add a suffix to another name
            np.save(out, vectors)
        return
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    names = [text for text, _ in rows]
    if as_json:
        sys.stdout.write(json.dumps({"texts": names, "similarity": cosines.tolist()}) + "\n")
        return
    heads = [str(number) for number in range(1, len(names) + 1)]
    cells = [
        [head, _short(name), *(f"{cosine:.3f}" for cosine in row)]
        for head, name, row in zip(heads, names, cosines, strict=True)
    ]
    table(cells, ["", "text", *heads], numbers=[0, *range(2, len(names) + 2)])


def _embed(
    model: Model, texts: Sequence[str], pooling: PoolKind | None, *, normalize: bool
) -> Iterator[tuple[str, Any]]:
    """Each text with its embedding, computed `TOGETHER` at a time."""
    from zigai_core.api.together import named
    from zigai_core.contracts.errors import ContextOverflowError, TokenizerError

    width = model.graph.output("hidden").width
    remaining, first = iter(texts), 1
    while some := list(islice(remaining, TOGETHER)):
        try:
            rows = model.embed(some, pooling=pooling, normalize=normalize)
        except (TokenizerError, ContextOverflowError):
            for number, text in enumerate(some, first):
                with named(f"text {number}"):  # among all of them, from 1
                    model.embed(text, pooling=pooling, normalize=normalize)
            raise
        first += len(some)
        assert rows.shape == (len(some), width)
        yield from zip(some, rows, strict=True)
        sys.stdout.flush()


def _text(row: Any) -> str:
    return " ".join(f"{float(number):.7g}" for number in row)


def _short(text: str) -> str:
    text = clean(" ".join(text.split()))
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
