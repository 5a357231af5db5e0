"""Where a chart is drawn: in the terminal, or into an SVG file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from zigai_cli import whole_file
from zigai_cli.terminal.output import note

if TYPE_CHECKING:
    from zigai_cli.measure.chart import Chart

Plot = Annotated[bool, typer.Option("--plot", help="Also draw the figures in the terminal.")]
PlotFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--plot-file", metavar="FILE.svg", help="Also draw the figures into an SVG file."),
]


def check_plot_file(path: Path | None) -> None:
    """Raise `typer.BadParameter` for a file that is not SVG or has no folder, before anything is measured."""
    if path is None:
        return
    if path.suffix.lower() != ".svg":
        raise typer.BadParameter(f"--plot-file {path}: give a name that ends in .svg")
    whole_file.check_folder("--plot-file", path)


def draw(charts: Sequence[Chart], *, plot: bool, file: Path | None) -> None:
    """Draw the charts in the terminal, into a file, or both."""
    if plot:
        for chart in charts:
            sys.stdout.write("\n" + chart.text())
    if file is not None:
        from zigai_cli.measure.chart import chart_svg

        with whole_file.named(file):
            file.write_text(chart_svg(charts), encoding="utf-8")
        note(f"drawn into {file}", sys.stderr)
