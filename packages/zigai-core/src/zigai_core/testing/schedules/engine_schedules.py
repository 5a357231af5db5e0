"""Schedules that run through an engine: see `zigai_core.testing.schedules.schedules`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Executor, Program, ProgramReport
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Budget, Request
from zigai_core.testing.schedules.scattered import check_program

CHUNK = 7
"""Rows of a step in `preempted`; fewer if there are fewer than three times as many tokens."""


class SmallSteps:
    """A program whose steps are planned with at most `batch` rows, fewer than it was compiled for."""

    def __init__(self, program: Program, batch: int) -> None:
        self.graph: Graph = program.graph
        self.options: CompileOptions = replace(program.options, batch=min(batch, program.options.batch))
        self.batch_invariant = program.batch_invariant
        self._program = program

    @property
    def state_bytes(self) -> tuple[int, ...]:
        """The bytes of one page or slot of each group."""
        return self._program.state_bytes

    def new_executor(self, sizes: Sequence[int]) -> Executor:
        """Returns an executor of the program."""
        return self._program.new_executor(sizes)

    def report(self) -> ProgramReport:
        """Returns the program's report."""
        return self._program.report()


def together(program: Program, tokens: Sequence[int]) -> Mapping[str, Array]:
    """A request among others, which are submitted before and after it."""
    check_program(program, tokens)
    found: dict[str, Array] = {}
    for name in program.graph.outputs:
        with Engine(program, budget=Budget(tokens=4 * program.options.context)) as engine:
            parts = (tokens[1:4], tokens, tokens[2:])
            streams = [engine.submit(_asking(name, part, cache=False)) for part in parts]
            found[name] = streams[1].result().outputs
            engine.check()
    return found


def preempted(program: Program, tokens: Sequence[int]) -> Mapping[str, Array]:
    """A request in small steps that is preempted half-way and computed again in other chunks, beside another.

    What a page shortage would do to it is done without one, so that a graph without pages is tested too.
    """
    check_program(program, tokens)
    found: dict[str, Array] = {}
    chunk = max(1, min(CHUNK, len(tokens) // 3))
    small = SmallSteps(program, chunk)
    for name in program.graph.outputs:
        with Engine(small, budget=Budget(tokens=2 * program.options.context)) as engine:
            stream = engine.submit(_asking(name, tokens, cache=False))
            for _ in range(len(tokens) // chunk // 2 + 1):
                engine.step()
            scheduler = engine._stepper.scheduler
            scheduler.preempt(*scheduler.running)
            other = engine.submit(_asking(name, tokens[: chunk + 1], cache=False, priority=1))
            found[name] = stream.result().outputs
            assert stream.usage.preemptions == 1, "the engine has not preempted the request"
            other.result()
            engine.check()
    return found


def found_by_prefix(program: Program, tokens: Sequence[int]) -> Mapping[str, Array]:
    """A request for each token's outputs, which finds by prefix what the request before has computed."""
    check_program(program, tokens)
    found: dict[str, Array] = {}
    for name in program.graph.outputs:
        rows = []
        with Engine(program, budget=Budget(tokens=2 * program.options.context)) as engine:
            for end in range(1, len(tokens) + 1):
                rows.append(engine.submit(_asking(name, tokens[:end], rows="last")).result().outputs)
            cached = engine.stats().cached_tokens
            engine.check()
        if program.graph.groups and not cached:
            raise AssertionError("the engine has found nothing by prefix")
        found[name] = np.concatenate(rows)
    return found


def _asking(
    name: str, tokens: Sequence[int], *, rows: str = "all", cache: bool = True, priority: int = 0
) -> Request:
    return Request(tokens, outputs=name, rows=rows, cache=cache, priority=priority)  # type: ignore[arg-type]
