"""Speed of prefill against the prompt's length, and of decode against the depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from zigai_cli.measure.chart import Chart, Series
from zigai_cli.measure.timing import Timing, Work
from zigai_core.api.model import Model

POINTS = 6
"""Most points of a curve."""
STEPS = 16
"""Most tokens decoded at each depth."""


class Sweep:
    """Times a model at several lengths up to those of `work`. Iterating yields progress lines.

    Iterating ends early, without an error, after `cancel`.
    """

    def __init__(self, model: Model, work: Work) -> None:
        self._timings: list[tuple[str, int, Timing]] = []
        for length in lengths(work.prompt):
            part = replace(work, prompt=length, generate=0, depth=0, sequences=1, profile=False)
            self._timings.append(("prefill", length, Timing(model, part)))
        steps = min(work.generate, STEPS)
        for depth in [0, *lengths(work.depth)] if steps else []:
            part = replace(work, prompt=0, generate=steps, depth=depth, profile=False)
            self._timings.append(("decode", depth, Timing(model, part)))
        self._cancelled = False

    def __iter__(self) -> Iterator[str]:
        for _, _, timing in self._timings:
            if not self._cancelled:
                yield from timing

    def cancel(self) -> None:
        """End the iteration soon. May be called from any thread."""
        self._cancelled = True
        for _, _, timing in self._timings:
            timing.cancel()

    def figures(self) -> dict[str, list[dict[str, Any]]]:
        """By phase, the tokens per second at each length, as medians of the rounds."""
        found: dict[str, list[dict[str, Any]]] = {"prefill": [], "decode": []}
        for phase, length, timing in self._timings:
            speed = timing.figures().get("prompt_tps" if phase == "prefill" else "generate_tps")
            if speed is not None:
                found[phase].append({"tokens": length, "tps": speed})
        return found

    def charts(self, name: str) -> list[Chart]:
        """A chart for each phase that was timed."""
        labels = {"prefill": "tokens of the prompt", "decode": "tokens in the context before"}
        return [
            Chart(
                f"{phase} of {name}",
                labels[phase],
                "tokens/s",
                [Series("", [row["tokens"] for row in rows], [row["tps"] for row in rows])],
                from_zero=True,
            )
            for phase, rows in self.figures().items()
            if rows
        ]


def lengths(most: int) -> list[int]:
    """Lengths up to `most`, each twice the one before, in ascending order; at most `POINTS`.

    >>> lengths(512), lengths(3), lengths(0)
    ([16, 32, 64, 128, 256, 512], [1, 3], [])
    """
    found: list[int] = []
    while most >= 1 and len(found) < POINTS:
        found.append(most)
        most //= 2
    return found[::-1]
