"""Draws results: the share of the physical limit that each system reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw(measured: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a panel for each model and number of threads. The path's suffix selects the file format.

    Raises `SystemExit` if matplotlib is not installed, or if no figure has a limit.
    """
    try:
        import matplotlib
    except ImportError:
        raise SystemExit(
            f"{path}: drawing needs matplotlib: install the dependency group `compare`"
        ) from None
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "zigai"  # equal figures give an equal file
    from matplotlib import pyplot

    panels = [(result, _shares(result)) for run in measured for result in run["results"]]
    panels = [(result, shares) for result, shares in panels if shares]
    if not panels:
        raise SystemExit(f"{path}: no figure has a limit, so there is nothing to draw")
    most = max(len(shares) for _, shares in panels)
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(6 * columns, (0.45 * most + 1.2) * lines), squeeze=False, sharex=True
    )
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (result, shares) in zip(axes.flat, panels, strict=False):
        for offset, colour, label, index in ((-0.2, "C0", "ZigAI", 1), (0.2, "C7", "llama.cpp", 2)):
            widths = [100 * (row[index] or 0) for row in shares]
            axis.barh([y + offset for y in range(len(shares))], widths, 0.38, color=colour, label=label)
        axis.set_yticks(range(len(shares)), [row[0] for row in shares])
        axis.invert_yaxis()
        threads = result["threads"]
        axis.set_title(f"{result['model']}, {threads} thread{'s' if threads > 1 else ''}", fontsize=10)
        axis.set_xlabel("% of the physical limit")
        axis.grid(axis="x", alpha=0.3)
    axes.flat[0].legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _shares(result: Mapping[str, Any]) -> list[tuple[str, float | None, float | None]]:
    rows = [row for row in result["rows"] if row["more_is_better"] and row["bound"]]
    return [(row["figure"], row["our_share"], row["peer_share"]) for row in rows]
