"""`zig-ai rerank`: documents in the order in which they answer a query."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Optional

import typer

from zigai_cli import input_text, loader, options
from zigai_cli.load_options import DEFAULTS, with_load_options
from zigai_cli.terminal.output import clean, table
from zigai_core.contracts.load_options import LoadOptions


@with_load_options()
def rerank(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What the documents should answer.")],
    documents: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="DOCUMENT", help="Documents to score.", show_default="lines of standard input"
        ),
    ] = None,
    model: options.Model = None,
    file: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="FILE", help="Score each line of a file; - is standard input."),
    ] = None,
    top: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", min=1, help="Print the N best documents.", show_default="all"),
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut off the end of a document that is too long.")
    ] = False,
    load: LoadOptions = DEFAULTS,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a line for each document.")
    ] = False,
) -> None:
    """Score documents by how well they answer a query.

    The model must be a reranker; the best document is printed first. Scores are raw: numbers without a unit
    or bounds, of which the larger one is better. Documents are numbered from 1, in the order in which they
    are given. Empty lines of a file or of standard input are an error, because line numbers would no longer
    agree.
    """
    if documents and file is not None:
        raise typer.BadParameter("documents are given twice: as arguments and with --file")
    if not documents and file is None and sys.stdin.isatty():
        raise typer.BadParameter("no document: give DOCUMENT, --file FILE, or lines through standard input")
    query = input_text.encodable("the query", query)
    given = [input_text.encodable("a document", text) for text in documents or ()] or input_text.lines(
        file or "-", none="no document to score", empty="an empty line is no document"
    )
    scores = loader.load(model, load).rerank(query, given, truncate=truncate)
    ranked = sorted(zip(scores.tolist(), range(1, len(given) + 1), given, strict=True), key=_best_first)
    ranked = ranked if top is None else ranked[:top]
    if as_json:
        for score, number, text in ranked:
            sys.stdout.write(json.dumps({"number": number, "score": score, "document": text}) + "\n")
        return
    cells = [[f"{score:.4f}", str(number), clean(text)] for score, number, text in ranked]
    table(cells, ["score", "number", "document"], numbers=[0, 1])


def _best_first(entry: tuple[float, int, str]) -> tuple[float, int]:
    score, number, _ = entry
    return -score, number
