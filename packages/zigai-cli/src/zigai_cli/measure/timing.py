"""Measures the speed of prefill and of decode at a depth, for one sequence or several together."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.api.model import Model
from zigai_core.api.throughput import Throughput
from zigai_core.contracts.errors import Cancelled
from zigai_core.contracts.plugins import OperationTime


@dataclass(frozen=True)
class Work:
    """Amount of work to time, in tokens.

    Prefill: a prompt of `prompt` tokens. Decode: `generate` steps of one token for each of `sequences`
    sequences, which hold `depth` tokens before. Each is repeated `repeat` times after a warm-up round.
    """

    prompt: int
    generate: int
    depth: int = 0
    sequences: int = 1
    repeat: int = 3
    profile: bool = False

    @property
    def context(self) -> int:
        """Tokens of context that a sequence needs."""
        return max(self.prompt, self.depth + self.generate)


@dataclass
class Timing:
    """Times a model. Iterating runs the rounds and yields a progress line before each; then call `figures`.

    Tokens are random: speed does not depend on them. The first round is a warm-up; figures are medians of the
    others. Iterating ends early, without an error, after `cancel`.
    """

    model: Model
    work: Work
    prompt_tps: list[float] = field(default_factory=list)
    generate_tps: list[float] = field(default_factory=list)
    first_token_s: list[float] = field(default_factory=list)
    start_to_token_s: float | None = None
    """Seconds from the process's start to the first token, loading included; None if not known."""
    profiles: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By phase, the seconds of each operation in one more round, summed over the layers."""

    def __post_init__(self) -> None:
        self._throughput = Throughput(self.model, self.work.sequences)
        self._random = np.random.default_rng(0)
        self._filled = False

    def __iter__(self) -> Iterator[str]:
        with contextlib.suppress(Cancelled):
            yield from self._rounds()
            if self.work.profile:
                yield from self._profile()

    def _rounds(self) -> Iterator[str]:
        work = self.work
        for turn in range(work.repeat + 1 if work.prompt else 0):
            yield f"{self._name(turn)}: a prompt of {work.prompt} tokens"
            self._prefill(counts=turn > 0)
            if not turn:
                self.start_to_token_s = process_age()
        for turn in range(work.repeat + 1 if work.generate else 0):
            yield f"{self._name(turn)}: {work.generate} tokens of {work.sequences} at a depth of {work.depth}"
            self._decode(counts=turn > 0)
        self._filled = False

    def _name(self, turn: int) -> str:
        return f"round {turn} of {self.work.repeat}" if turn else "warming up"

    def cancel(self) -> None:
        """End the iteration soon. May be called from any thread."""
        self._throughput.cancel()

    def _profile(self) -> Iterator[str]:
        for name, tokens, run in (
            ("prompt", self.work.prompt, self._prefill),
            ("generate", self.work.generate, self._decode),
        ):
            if tokens:
                yield f"profile: {name}"
                if name == "generate":
                    self._fill()  # before the profile starts, so that it covers decode alone
                self._throughput.start_profile()
                run(counts=False)
                self.profiles[name] = _sums(self._throughput.profile())

    def figures(self) -> dict[str, Any]:
        """Medians: tokens per second of prefill and decode, and seconds to the first token after the prompt.

        `first_token_s` is measured from the start of prefill, `start_to_token_s` from the process's start.
        """
        measured = {
            "prompt_tps": self.prompt_tps,
            "generate_tps": self.generate_tps,
            "first_token_s": self.first_token_s,
        }
        figures = {name: round(statistics.median(values), 6) for name, values in measured.items() if values}
        if self.start_to_token_s is not None:
            figures["start_to_token_s"] = round(self.start_to_token_s, 2)
        return figures

    def _prefill(self, *, counts: bool) -> None:
        tokens = self._tokens(self.work.prompt)
        began = time.perf_counter()
        self._throughput.prefill(tokens)
        seconds = time.perf_counter() - began
        if counts:
            self.prompt_tps.append(self.work.prompt / seconds)
            self.first_token_s.append(seconds)

    def _decode(self, *, counts: bool) -> None:
        self._fill()
        work = self.work
        steps = [self._tokens(work.sequences) for _ in range(work.generate)]
        began = time.perf_counter()
        self._throughput.decode(steps)
        seconds = time.perf_counter() - began
        self._throughput.rewind()
        if counts:
            self.generate_tps.append(work.generate * work.sequences / seconds)

    def _fill(self) -> None:
        """Fill the decoding sequences to their depth, once for all rounds."""
        if not self._filled:
            self._throughput.fill([self._tokens(self.work.depth) for _ in range(self.work.sequences)])
            self._filled = True

    def _tokens(self, count: int) -> Sequence[int]:
        tokens: list[int] = self._random.integers(0, self.model.graph.token_limit, count).tolist()
        return tokens


def _sums(times: Sequence[OperationTime]) -> list[dict[str, Any]]:
    sums: dict[tuple[str, str, str], float] = {}
    for row in times:
        key = (row.operation, re.sub(r"^blk\.\d+\.|( of layer| blk\.)\s?\d+$", "", row.output), row.dtype)
        sums[key] = sums.get(key, 0.0) + row.seconds
    return [
        {"operation": operation, "output": output, "type": dtype, "seconds": seconds}
        for (operation, output, dtype), seconds in sorted(sums.items(), key=lambda item: -item[1])
    ]


def process_age() -> float | None:
    """Seconds since this process started, to a hundredth; None on systems other than Linux.

    Source: proc(5), field 22 of /proc/self/stat, in clock ticks since boot.
    """
    if sys.platform != "linux":
        return None
    fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def peak_resident() -> int | None:
    """Peak resident memory of this process in bytes, mapped pages included; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
