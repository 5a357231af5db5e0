"""The conformance suite for the stop cell of `Executor.run`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Batch, Pages
from zigai_core.contracts.errors import Cancelled
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Executor, Program
from zigai_core.ops.builder import GraphBuilder
from zigai_core.testing.backend.base import Conformance
from zigai_core.testing.toys import random_tensors

VOCABULARY, WIDTH, HEADS = 40, 256, 4
SHORTEST = 0.06
"""Least duration of a step that another thread stops, in seconds."""
BEFORE, LATER = 10, 100
"""Tokens of the sequence before the step that is stopped, and in it."""

TURNS = 20
"""How often another thread tries to stop a step."""

BEGINNING = 0.01
"""Seconds after which a step has begun: a cell that is set later was not set when it did."""


class StoppingConformance(Conformance):
    """Tests that a set cell ends a step with `Cancelled`, and that nothing of the step is kept."""

    def test_a_stop_cell_that_is_set_cancels_the_step(self) -> None:
        at, stop = self._chain(2).new_executor([8]), np.zeros(1, np.int32)
        stop[0] = 1
        for _ in range(2):
            assert _cancelled(lambda: at.run(_batch(0, 3), stop)), "the step was not cancelled"

    def test_after_a_cancelled_step_the_sequence_goes_on_with_the_same_numbers(self) -> None:
        program, stop = self._chain(2), np.zeros(1, np.int32)
        at = program.new_executor([8])
        rows = _rows(program.new_executor([8]), 0, BEFORE + 8)
        before = at.run(_batch(0, BEFORE), stop).rows("hidden").copy()
        self._close(before, rows[:BEFORE], program)
        stop[0] = 1
        # Other tokens than those that follow: what the step may have written must not be seen.
        assert _cancelled(lambda: at.run(_batch(BEFORE, LATER, shift=1), stop)), "the step was not cancelled"
        stop[0] = 0
        self._close(at.run(_batch(BEFORE, 8), stop).rows("hidden").copy(), rows[BEFORE:], program)

    def test_another_thread_ends_a_step_and_the_sequence_goes_on_with_the_same_numbers(self) -> None:
        layers = 12
        while True:
            program = self._chain(layers)
            at = program.new_executor([8])
            expected = _rows(at, 0, BEFORE + 8)[BEFORE:]
            began = time.perf_counter()
            at.run(_batch(BEFORE, LATER, shift=1), np.zeros(1, np.int32))
            duration = time.perf_counter() - began
            if duration > SHORTEST or layers > 10_000:
                break
            layers *= 2
        for turn in range(TURNS):  # sooner each time: a busy machine may set the cell when the step has ended
            stop = np.zeros(1, np.int32)
            at.run(_batch(0, BEFORE), stop)
            set_at: list[float] = []

            def set_cell(cell: NDArray[np.int32] = stop, times: list[float] = set_at) -> None:
                times.append(time.perf_counter())
                cell[0] = 1

            timer = threading.Timer(max(duration / 4 * 0.7**turn, 2 * BEGINNING), set_cell)
            timer.start()
            began = time.perf_counter()
            ended = _cancelled(lambda: at.run(_batch(BEFORE, LATER, shift=1), stop))  # noqa: B023
            timer.join()
            if ended and set_at[0] - began > BEGINNING:
                stop[0] = 0
                self._close(at.run(_batch(BEFORE, 8), stop).rows("hidden").copy(), expected, program)
                return
        raise AssertionError(f"a step of {duration:.2f} s did not end when another thread set its stop cell")

    def _chain(self, layers: int) -> Program:
        """Returns a program of attention, the output `hidden`, and then of a chain of matrix products."""
        tensors = random_tensors({"token_embd.weight": (VOCABULARY, WIDTH), "w.weight": (WIDTH, WIDTH)})
        g = GraphBuilder(tensors)
        x = g.scale(g.embedding("token_embd", WIDTH), WIDTH**0.5, name="scaled")
        sizes = {"heads": HEADS, "kv_heads": HEADS, "head_dim": WIDTH // HEADS}
        x = g.attention(x, x, x, state="kv", name="attention", **sizes)  # type: ignore[arg-type]
        g.output("hidden", g.select(x))
        for layer in range(layers):  # bounded, since numbers that are not finite may be slow
            x = g.soft_cap(g.linear(x, "w", WIDTH, name=f"product {layer}"), 4.0, name=f"bounded {layer}")
        g.output("chain", g.select(x, name="wanted of chain"))
        options = CompileOptions(context=256, batch=256, page=32)
        return self._compile(g.finish(), tensors, options)


def _rows(at: Executor, first: int, count: int) -> Array:
    return at.run(_batch(first, count), np.zeros(1, np.int32)).rows("hidden").copy()


def _batch(first: int, count: int, *, shift: int = 0) -> Batch:
    index = np.arange(first, first + count, dtype=np.int32)
    return Batch(
        tokens=(index * 7 + shift) % VOCABULARY,
        sequences=np.zeros(count, np.int32),
        index=index,
        output_rows=np.arange(count, dtype=np.int32),
        groups=(Pages([np.array([3, 0, 7, 1, 2, 6, 5, 4], np.int32)]),),
    )


def _cancelled(call: Callable[[], object]) -> bool:
    try:
        call()
    except Cancelled:
        return True
    return False
