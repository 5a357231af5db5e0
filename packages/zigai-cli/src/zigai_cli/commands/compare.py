"""`zig-ai compare`: where two files, two backends, or a file and stored values part."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from zigai_cli import input_text, loader, options, suggestions, whole_file
from zigai_cli.failure import InputError
from zigai_cli.load_options import DEFAULTS, with_load_options
from zigai_cli.loader import LoadProgress
from zigai_cli.measure.drawing import Plot, PlotFile, check_plot_file, draw
from zigai_cli.measure.passage import PASSAGE
from zigai_cli.terminal.output import note, table
from zigai_cli.terminal.status import StatusLine
from zigai_core.contracts.errors import escape
from zigai_core.contracts.load_options import LoadOptions

if TYPE_CHECKING:
    from zigai_cli.measure.comparison import Comparison, Difference
    from zigai_cli.measure.oracle import Oracle
    from zigai_core.api.trace import Trace
    from zigai_core.contracts.graph import Array

LENGTH = 128
"""Default of the most tokens that are computed."""
SHOWN = 12
"""Most values in the table without --all: those with the largest relative differences."""


@with_load_options("budget")
def compare(
    a: Annotated[
        str,
        typer.Argument(metavar="A", help="A model.", show_default=False, autocompletion=suggestions.models),
    ],
    b: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(
            metavar="B",
            help="Another file of the same model, or values in an .npz file.",
            show_default="A, with --backend-b",
        ),
    ] = None,
    prompt: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="TEXT", help="The text to compute.", show_default="a built-in passage"),
    ] = None,
    file: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="FILE", help="Compute the text of a file; - is standard input."),
    ] = None,
    tokens: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            metavar="N",
            min=1,
            help="Most tokens of the text to compute; never more than the context.",
            show_default=str(LENGTH),
        ),
    ] = None,
    backend_a: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="The backend of A.", show_default="--backend"),
    ] = None,
    backend_b: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="The backend of B.", show_default="--backend"),
    ] = None,
    values: Annotated[
        str, typer.Option(metavar="PATTERN", help="Names of the values, such as 'blk.0.*' or logits.")
    ] = "*",
    tolerance: Annotated[
        float, typer.Option(metavar="R", min=0, help="Relative difference beyond which values part.")
    ] = 0.01,
    all_values: Annotated[bool, typer.Option("--all", help="List every value, in order.")] = False,
    write: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE.npz", help="Store A's values instead of comparing them."),
    ] = None,
    plot: Plot = False,
    plot_file: PlotFile = None,
    load: LoadOptions = DEFAULTS,
    as_json: options.Json = False,
) -> None:
    """Compare two files or backends, value by value.

    Both compute the same text, and every value of the model's graph is compared, by its name. Shows the first
    value at which they part, the largest differences, and how the distributions of the next
    token differ: KL divergence and how often the most likely token is the same. The relative difference is
    the length of the difference, divided by that of A's value. What RoPE rotates is compared in A's order.
    """
    check_plot_file(plot_file)
    if prompt is not None and file is not None:
        raise typer.BadParameter("the text is given twice: as --prompt and as --file")
    if prompt is not None:
        prompt = input_text.encodable("--prompt", prompt)
    if math.isnan(tolerance):
        raise typer.BadParameter("--tolerance nan: give a number of at least 0")
    if write is not None and (b is not None or backend_b is not None):
        raise typer.BadParameter("--write stores the values of A alone: leave out B and --backend-b")
    if write is None and b is None and backend_b is None:
        raise typer.BadParameter("nothing to compare A with: name B, --backend-b, or --write FILE.npz")
    if write is not None:
        if plot or plot_file is not None or as_json or all_values:
            raise typer.BadParameter(
                "--write compares nothing: leave out --plot, --plot-file, --all and --json"
            )
        whole_file.check_folder("--write", write)
    if plot and as_json:
        raise typer.BadParameter("--plot draws between the figures: use --plot-file together with --json")
    stored = None
    if b is not None and b.lower().endswith(".npz"):
        if any(given is not None for given in (prompt, file, tokens, backend_b)):
            raise typer.BadParameter(
                f"{b} holds its own tokens: leave out --prompt, --file, --tokens and --backend-b"
            )
        from zigai_cli.measure.oracle import Oracle

        stored = Oracle(Path(b))
    first = _trace(a, load, backend_a)
    ids = stored.tokens if stored else _tokens(first, prompt, file, tokens or LENGTH)
    if write is not None:
        _write(write, first, ids, values)
        return
    second = None if stored else _trace(b or a, load, backend_b)
    from zigai_cli.measure.matching import common
    from zigai_cli.measure.pairs import orders, reordered

    widths = common(first, stored or second, values)
    from zigai_cli.measure.comparison import Comparison

    logits = first.graph.outputs.get("logits")
    other = _stored_values(first, stored) if stored else second.values(ids) if second else iter(())
    moved = {} if second is None else orders(first.graph, second.graph)
    compared = Comparison(
        ids,
        widths,
        first.values(ids),
        reordered(other, moved),
        logits=None if logits is None else logits.name,
    )
    with StatusLine(sys.stderr) as status:
        for done in compared:
            status.show(f"{done} of {len(ids)} tokens")
    names = (f"{Path(a).name} on {first.backend}", _name_of_b(b or a, second))
    charts = _charts(compared, names)
    moved = {name: order for name, order in moved.items() if name in widths}
    if as_json:
        figures = _figures(compared, names, tolerance) | {"reordered": list(moved)}
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        if moved:
            note(
                f"the pairs of RoPE are stored in another order in B: {len(moved)} values, such as "
                f"{escape(next(iter(moved)))}, are compared in that of A",
                sys.stderr,
            )
        _show(compared, names, ids, tolerance, all_values=all_values)
    draw(charts, plot=plot, file=plot_file)


def _trace(name: str, load: LoadOptions, backend: str | None) -> Trace:
    from zigai_core.api import loading
    from zigai_core.api.trace import Trace

    path = loader.choose(name)
    descriptor = loading.read(path)
    with LoadProgress(path.name) as progress:
        return Trace(descriptor, replace(load, backend=backend or load.backend), progress=progress)


def _tokens(trace: Trace, prompt: str | None, file: str | None, most: int) -> list[int]:
    text = prompt if prompt is not None else PASSAGE if file is None else input_text.read_file(file)
    ids = trace.tokenizer.encode(text)[: min(most, trace.context)]
    if not ids:
        raise InputError("the text has no tokens: give a longer one")
    return ids


def _write(path: Path, trace: Trace, ids: Sequence[int], pattern: str) -> None:
    from zigai_cli.measure.matching import chosen
    from zigai_cli.measure.oracle import SUFFIX, write

    if path.suffix.lower() != SUFFIX:
        raise typer.BadParameter(f"--write {path}: give a name that ends in {SUFFIX}")
    names = chosen(trace.widths, pattern)
    steps = ({name: step[name] for name in names} for step in trace.values(ids))
    about = f"{trace.descriptor.name} ({trace.descriptor.architecture}) on {trace.backend}"
    count = write(path, ids, steps, about)
    note(f"{count} values of {len(ids)} tokens, of {about}, written to {path}", sys.stderr)


def _stored_values(first: Trace, stored: Oracle) -> Iterator[Mapping[str, Array]]:
    """The stored rows, in steps of the same size as A's."""
    from zigai_cli.measure.matching import stored_names
    from zigai_core.api.output_rows import ROWS

    names = stored_names(first, stored)
    step = len(stored.tokens) if first.graph.whole_sequences else ROWS
    for start in range(0, len(stored.tokens), step):
        yield {names[name]: rows for name, rows in stored.rows(start, step).items()}


def _name_of_b(name: str, trace: Trace | None) -> str:
    return Path(name).name if trace is None else f"{Path(name).name} on {trace.backend}"


def _figures(compared: Comparison, names: tuple[str, str], tolerance: float) -> dict[str, Any]:
    first = compared.first_beyond(tolerance)
    logits = compared.logits()
    return {
        "a": names[0],
        "b": names[1],
        "tolerance": tolerance,
        "first_beyond": None if first is None else first.name,
        "logits": logits and {key: _plain(value) for key, value in logits.items()},
        "values": [
            {
                "name": value.name,
                "width": value.width,
                "max": _plain(value.largest),
                "relative": _plain(value.relative),
            }
            for value in compared.differences
        ],
    }


def _plain(number: float) -> float | str:
    return number if math.isfinite(number) else str(number)


def _show(
    compared: Comparison, names: tuple[str, str], ids: Sequence[int], tolerance: float, *, all_values: bool
) -> None:
    note(f"A is {names[0]}, B is {names[1]}; {len(ids)} tokens", sys.stderr)
    listed = compared.differences
    first = compared.first_beyond(tolerance)
    if first is None:
        sys.stdout.write(f"all {len(listed)} values agree to {tolerance:g} of their length\n")
    else:
        count = sum(value.beyond(tolerance) for value in listed)
        sys.stdout.write(
            f"the first of {count} values (of {len(listed)}) that differ by more than {tolerance:g} is "
            f"{escape(first.name)}: by {first.relative:.3g} of its length, at most {first.largest:.3g}\n"
        )
    if not all_values:
        order = {id(value): place for place, value in enumerate(listed)}
        worst = sorted((value for value in listed if value.relative != 0), key=lambda value: -_rank(value))
        listed = sorted(worst[:SHOWN], key=lambda value: order[id(value)])
    if listed:
        rows = [
            [value.name, f"{value.width:,}", f"{value.relative:.3g}", f"{value.largest:.3g}"]
            for value in listed
        ]
        sys.stdout.write("\n")
        table(rows, ["value", "width", "relative", "largest"], numbers=[1, 2, 3])
    if listed and len(listed) < len(compared.differences):
        count = len(compared.differences)
        note(
            f"the {len(listed)} of {count} that differ most, in the order of computation; --all lists all",
            sys.stderr,
        )
    figures = compared.logits()
    if figures is None:
        return
    sys.stdout.write(
        f"\nnext token: KL(A, B) mean {figures['kl_mean']:.3g}"
        + (f" ± {figures['kl_error']:.2g}" if "kl_error" in figures else "")
        + f", largest {figures['kl_max']:.3g} nats"
        + (f" after token {figures['kl_max_at'] + 1}; " if figures["kl_max"] else "; ")
        + f"the same most likely token {figures['top1']:.1%} of {figures['tokens']}\n"
    )
    if "perplexity_a" in figures:
        sys.stdout.write(
            f"perplexity of the text: A {figures['perplexity_a']:.4f}, B {figures['perplexity_b']:.4f}\n"
        )


def _rank(value: Difference) -> float:
    return math.inf if math.isnan(value.relative) else value.relative


def _charts(compared: Comparison, names: tuple[str, str]) -> list[Any]:
    from zigai_cli.measure.chart import Chart, Series

    relative = [value.relative for value in compared.differences]
    files = [name.rpartition(" on ") for name in names]
    title = f"{names[0]} and {files[1][2] if files[0][0] == files[1][0] else names[1]}"
    charts = [
        Chart(
            title,
            "value, in the order of computation",
            "relative difference",
            [Series("", range(len(relative)), relative)],
            log_y=True,
        )
    ]
    kl = compared.kl.tolist()
    if kl:
        charts.append(
            Chart(title, "token", "KL of the next token, nats", [Series("", range(1, len(kl) + 1), kl)])
        )
    return charts
