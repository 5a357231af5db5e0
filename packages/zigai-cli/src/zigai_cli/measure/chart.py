"""A chart of lines, drawn with Unicode blocks for a terminal or as SVG."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zigai_cli.measure.svg import GREY, Svg
from zigai_cli.terminal.output import clean, figure, has_colour, wrapped

COLOURS = ("#1f6fb4", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#666666")
WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 80, 20, 50, 60
TERMINAL_HEIGHT = 14
TITLE = 92
"""Most characters of a title in an SVG chart."""


@dataclass(frozen=True)
class Series:
    """A line of a chart: its name in the legend, and its points in ascending order of x."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """Lines over a common x axis. Points that are not finite are left out, as is 0 on a logarithmic axis."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_y: bool = False
    from_zero: bool = False
    """Whether the y axis begins at 0."""

    def shown(self) -> list[Series]:
        """The series with the points that can be drawn; those without any are left out."""
        found = []
        for series in self.series:
            points = [
                (float(x), float(y))
                for x, y in zip(series.xs, series.ys, strict=True)
                if math.isfinite(y) and (y > 0 or not self.log_y)
            ]
            if points:
                found.append(Series(series.name, *map(list, zip(*points, strict=True))))
        return found

    def text(self) -> str:
        """The chart for standard output, in the terminal's width."""
        from uniplot import plot_to_string  # takes a tenth of a second to import

        shown = self.shown()
        title = f"{self.title}: {self.y_label} by {self.x_label}"
        if not shown:
            return f"{clean(title)}: nothing to draw\n"
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
        drawn: str = plot_to_string(
            xs=[np.array(series.xs) for series in shown],
            ys=[np.array(series.ys) for series in shown],
            lines=True,
            width=max(20, width - 20),
            height=TERMINAL_HEIGHT,
            color=has_colour(sys.stdout) and len(shown) > 1,
            legend_labels=[clean(series.name) for series in shown] if len(shown) > 1 else None,
            legend_placement="vertical",
            y_as_log=self.log_y,
            **({"y_min": 0.0} if self.from_zero else {}),
        )
        heading = wrapped(clean(title), width)
        return "".join(f"{line.rstrip()}\n" for line in [*heading, *drawn.split("\n")])

    def svg(self) -> str:
        """The chart as the text of an SVG file."""
        return chart_svg([self])


def chart_svg(charts: Sequence[Chart]) -> str:
    """Charts below one another as the text of an SVG file."""
    picture = Svg()
    for index, chart in enumerate(charts):
        _draw(picture, chart, index * HEIGHT)
    return picture.document(WIDTH, HEIGHT * len(charts))


def _draw(picture: Svg, chart: Chart, top: float) -> None:
    shown = chart.shown()
    size = 15 if len(chart.title) <= 64 else 11
    title = chart.title if len(chart.title) <= TITLE else chart.title[: TITLE - 1] + "…"
    picture.text(WIDTH / 2, top + 24, title, size=size, anchor="middle", bold=True)
    left, right, upper, lower = LEFT, WIDTH - RIGHT, top + TOP, top + HEIGHT - BOTTOM
    picture.text((left + right) / 2, lower + 44, chart.x_label, anchor="middle")
    picture.text(22, (upper + lower) / 2, chart.y_label, anchor="middle", turned=True)
    if not shown:
        picture.text((left + right) / 2, (upper + lower) / 2, "nothing to draw", anchor="middle")
        return
    xs = [x for series in shown for x in series.xs]
    ys = [math.log10(y) if chart.log_y else y for series in shown for y in series.ys]
    if chart.from_zero:
        ys.append(0.0)
    x_ticks = ticks(min(xs), max(xs))
    y_ticks = ticks(min(ys), max(ys))
    x_low, x_high = min(xs), max(xs)
    y_low, y_high = min(y_ticks[0], *ys), max(y_ticks[-1], *ys)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (right - left) * (x - x_low) / ((x_high - x_low) or 1),
            lower - (lower - upper) * (y - y_low) / ((y_high - y_low) or 1),
        )

    for y in y_ticks:
        _, height = at(x_low, y)
        picture.line([(left, height), (right, height)], colour="#dddddd")
        label = f"{10**y:.3g}" if chart.log_y else figure(y).strip() if y >= 0 else f"{y:.3g}"
        picture.text(left - 8, height + 4, label, anchor="end", colour=GREY)
    for x in x_ticks:
        place, _ = at(x, y_low)
        picture.line([(place, lower), (place, lower + 5)])
        picture.text(place, lower + 20, f"{x:g}", anchor="middle", colour=GREY)
    picture.line([(left, upper), (left, lower), (right, lower)])
    for number, series in enumerate(shown):
        colour = COLOURS[number % len(COLOURS)]
        points = [
            at(x, math.log10(y) if chart.log_y else y) for x, y in zip(series.xs, series.ys, strict=True)
        ]
        picture.line(points, colour=colour, width=2)
        for x, y in points if len(points) <= 40 else ():
            picture.dot(x, y, colour=colour)
        if len(shown) > 1:
            place = upper + 14 + 18 * number
            picture.line([(right - 180, place - 4), (right - 156, place - 4)], colour=colour, width=2)
            picture.text(right - 150, place, series.name)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers inside `low..high`, three to six of them.

    >>> ticks(0, 512)
    [0.0, 200.0, 400.0]
    """
    if not high > low:
        return [float(low)]
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= 0.999 * rough)
    first = math.ceil(low / step - 1e-9)
    return [round(float(number * step), 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]
