"""How fast a model runs: prefill, and decoding at a depth, of one sequence or of several together."""

from __future__ import annotations

import contextlib
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from zigai_core.errors import Cancelled, UnsupportedError
from zigai_core.protocols import OperationTime, ProfilingContext
from zigai_core.runner import Part, Runner

if TYPE_CHECKING:
    from zigai_core.cache import CachedSequence
    from zigai_core.model import Model


@dataclass(frozen=True)
class Work:
    """What is timed, in tokens: `generate` steps of a token of each sequence, after `depth` of each."""

    prompt: int
    generate: int
    depth: int = 0
    sequences: int = 1
    repeat: int = 3
    profile: bool = False

    @property
    def context(self) -> int:
        """Tokens that a sequence must hold."""
        return max(self.prompt, self.depth + self.generate)


@dataclass
class Timing:
    """Iterate over it to run: it gives the line that says what comes next, and has the figures in the end.

    Tokens are random: how fast a model runs does not depend on them. The first round warms up and does not
    count; figures are medians of the others.
    """

    model: Model
    work: Work
    prompt_tps: list[float] = field(default_factory=list)
    generate_tps: list[float] = field(default_factory=list)
    first_token_s: list[float] = field(default_factory=list)
    profiles: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Seconds of each operation in one more prefill and decoding, equal ones of all layers added up."""

    def __post_init__(self) -> None:
        self._runner = Runner(self.model.program, self.work.sequences)
        self._random = np.random.default_rng(0)

    def __iter__(self) -> Iterator[str]:
        with contextlib.suppress(Cancelled):
            yield from self._rounds()
            if self.work.profile:
                yield from self._profile()

    def _rounds(self) -> Iterator[str]:
        work = self.work
        for turn in range(work.repeat + 1):
            name = f"round {turn} of {work.repeat}" if turn else "warming up"
            if work.prompt:
                yield f"{name}: a prompt of {work.prompt} tokens"
                self._prefill(counts=turn > 0)
            if work.generate:
                yield f"{name}: {work.generate} tokens of {work.sequences} at a depth of {work.depth}"
                self._decode(counts=turn > 0)

    def cancel(self) -> None:
        """From any thread: end soon."""
        self._runner.context.cancel()

    def _profile(self) -> Iterator[str]:
        context = self._runner.context
        if not isinstance(context, ProfilingContext):
            raise UnsupportedError(f"the backend {self.model.backend} cannot tell where its time goes")
        for name, wanted, run in (
            ("prompt", self.work.prompt, self._prefill),
            ("generate", self.work.generate, self._decode),
        ):
            if wanted:
                yield f"profile: {name}"
                context.start_profile()
                run(counts=False)
                self.profiles[name] = _sums(context.profile())

    def figures(self) -> dict[str, Any]:
        """Medians: tokens per second, and seconds to the first token of a reply to the prompt."""
        measured = {
            "prompt_tps": self.prompt_tps,
            "generate_tps": self.generate_tps,
            "first_token_s": self.first_token_s,
        }
        return {name: round(statistics.median(values), 4) for name, values in measured.items() if values}

    def _prefill(self, *, counts: bool) -> None:
        sequence = self._runner.pool.new_sequence()
        began = time.perf_counter()
        self._runner.run([Part(sequence, self._tokens(self.work.prompt))])
        seconds = time.perf_counter() - began
        sequence.truncate(0)
        if counts:
            self.prompt_tps.append(self.work.prompt / seconds)
            self.first_token_s.append(seconds)

    def _decode(self, *, counts: bool) -> None:
        sequences: list[CachedSequence] = []
        for _ in range(self.work.sequences):
            sequences.append(self._runner.pool.new_sequence())
            if self.work.depth:
                self._runner.run([Part(sequences[-1], self._tokens(self.work.depth))])
        began = time.perf_counter()
        for _ in range(self.work.generate):
            self._runner.run([Part(sequence, self._tokens(1)) for sequence in sequences])
        seconds = time.perf_counter() - began
        for sequence in sequences:
            sequence.truncate(0)
        if counts:
            self.generate_tps.append(self.work.generate * len(sequences) / seconds)

    def _tokens(self, count: int) -> Sequence[int]:
        tokens: list[int] = self._random.integers(0, self.model.graph.vocabulary_size, count).tolist()
        return tokens


def _sums(times: Sequence[OperationTime]) -> list[dict[str, Any]]:
    sums: dict[tuple[str, str, str], float] = {}
    for row in times:
        key = (row.operation, re.sub(r"^blk\.\d+\.| of layer \d+$", "", row.output), row.dtype)
        sums[key] = sums.get(key, 0.0) + row.seconds
    return [
        {"operation": operation, "output": output, "type": dtype, "seconds": seconds}
        for (operation, output, dtype), seconds in sorted(sums.items(), key=lambda item: -item[1])
    ]


def peak_resident() -> int | None:
    """Bytes of the process's resident memory at its highest, mapped pages included; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
