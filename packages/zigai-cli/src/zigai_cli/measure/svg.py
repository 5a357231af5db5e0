"""A picture in SVG 1.1 (https://www.w3.org/TR/SVG11/), built from a few shapes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from zigai_cli.terminal.output import clean

FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"
GREY = "#666666"


class Svg:
    """Shapes in the order in which they are drawn; coordinates in pixels, y downwards."""

    def __init__(self) -> None:
        self._shapes: list[str] = []

    def rectangle(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str,
        line: str = "none",
        round: int = 0,
    ) -> None:
        """Add a rectangle by its upper left corner."""
        self._shapes.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{round}" '
            f'fill="{fill}" stroke="{line}"/>'
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = 12,
        anchor: str = "start",
        colour: str = "black",
        bold: bool = False,
        turned: bool = False,
    ) -> None:
        """Add a line of text; `anchor` (start, middle, end) is the part of it that is at x."""
        weight = ' font-weight="bold"' if bold else ""
        turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
        self._shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{colour}"{weight}{turn}>{escape(clean(text))}</text>'
        )

    def line(
        self,
        points: Sequence[tuple[float, float]],
        *,
        colour: str = GREY,
        width: float = 1,
        arrow: bool = False,
    ) -> None:
        """Add straight lines from point to point, with an arrow head at the end if wanted."""
        head = ' marker-end="url(#arrow)"' if arrow else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._shapes.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
            f'stroke-linejoin="round"{head}/>'
        )

    def dot(self, x: float, y: float, *, colour: str) -> None:
        """Add a small filled circle."""
        self._shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')

    def document(self, width: float, height: float) -> str:
        """The picture as the text of a file, on white."""
        marker = (
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0 0 8 4 0 8z" fill="{GREY}"/></marker></defs>'
        )
        opening = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}">'
        )
        ground = f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>'
        return "\n".join([opening, marker, ground, *self._shapes, "</svg>", ""])
