"""The work that is measured: jobs, each for a process of its own, and their figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SHORT_PROMPT = 16
"""Tokens of the prompt when process start is measured: short, so that loading dominates."""


@dataclass(frozen=True)
class Figure:
    """A JSON key of `zig-ai bench`, with its name and unit for tables."""

    key: str
    name: str
    unit: str
    more_is_better: bool = True


@dataclass(frozen=True)
class Job:
    """The work of one process: options of `zig-ai bench`, in tokens, and the figures to read from it."""

    figures: tuple[Figure, ...]
    prompt: int = 0
    generate: int = 0
    depth: int = 0
    sequences: int = 1
    repeat: int = 1

    @property
    def context(self) -> int:
        """Tokens of context that a sequence needs."""
        return max(self.prompt, self.depth + self.generate)

    @property
    def options(self) -> list[str]:
        """Command-line options for `zig-ai bench` and `peer.py time`."""
        names = ("prompt", "generate", "depth", "sequences", "repeat")
        return [part for name in names for part in (f"--{name}", str(getattr(self, name)))]


def jobs(
    *,
    prompts: Sequence[int],
    depths: Sequence[int],
    sequences: Sequence[int],
    generate: int,
    repeat: int,
    start: bool,
) -> Iterator[Job]:
    """Jobs for prefill of each length, decode at each depth and of several sequences, and process start."""
    for prompt in prompts:
        yield Job((Figure("prompt_tps", f"prefill {prompt:,}", "tokens/s"),), prompt=prompt, repeat=repeat)
    for depth in depths:
        figure = Figure("generate_tps", f"decode at {depth:,}", "tokens/s")
        yield Job((figure,), generate=generate, depth=depth, repeat=repeat)
    for count in sequences:
        figure = Figure("generate_tps", f"decode {count} together", "tokens/s")
        yield Job((figure,), generate=generate, sequences=count, repeat=repeat)
    if start:
        figures = (
            Figure("load_s", "load", "s", more_is_better=False),
            Figure("start_to_token_s", "process start to first token", "s", more_is_better=False),
            Figure("peak_resident_bytes", "peak resident memory", "GB", more_is_better=False),
        )
        yield Job(figures, prompt=SHORT_PROMPT)
