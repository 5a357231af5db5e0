"""Random operations on an engine over the checking executor: every reply is what the request gets alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from zigai_core.contracts.errors import ContextOverflowError, QueueFullError
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.engine import stream as stream_module
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Budget, Request, drop_middle
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.stream import Stream
from zigai_core.testing.engine.checking_executor import CheckingProgram, checking_graph
from zigai_core.testing.engine.expected_replies import expected_outputs, reply_alone
from zigai_core.testing.engine.interrupts import Interrupt

OPERATIONS = int(os.environ.get("ZIGAI_ENGINE_OPERATIONS", "600"))
"""Operations for all kinds of groups together; 20,000 before a release."""

GRAPHS = {
    "full": checking_graph(),
    "window": checking_graph(full=False, windows=[5]),
    "recurrent": checking_graph(full=False, recurrent=True),
    "hybrid": checking_graph(windows=[3, 7], recurrent=True),
}
STEPS = 60
END = frozenset({0})
FOLDERS = [Path(stream_module.__file__).parent]


class Guesser:
    """Proposes the true reply, but for every third token."""

    def __init__(self, prompt: int, reply: Sequence[int]) -> None:
        self._prompt = prompt
        self._reply = reply

    def propose(self, tokens: Sequence[int], count: int) -> list[int]:
        done = len(tokens) - self._prompt
        return [
            token if (done + i) % 3 else (token + 1) % 50
            for i, token in enumerate(self._reply[done : done + count])
        ]


@cache
def alone(kind: str, prompt: tuple[int, ...], seed: int, most: int, context: int, shift: bool) -> Any:
    return reply_alone(
        GRAPHS[kind],
        prompt,
        SamplingOptions(seed=seed, steps=("temperature",)),
        context=context,
        max_tokens=most,
        end_ids=END,
        shift=drop_middle(1) if shift else None,
    )


def _rows(prompt: list[int], places: set[int]) -> Any:
    """An embedding for each of these places of a prompt, which stands for its token."""
    return np.array([prompt[place] for place in sorted(places)], np.float32).reshape(-1, 1)


def _tokens(request: Request) -> list[int]:
    """The prompt, with the tokens that its embeddings stand for."""
    tokens = np.array(request.prompt)
    if request.embeddings is not None:
        tokens[tokens == -1] = request.embeddings[:, 0]
    return [int(token) for token in tokens]


class EngineMachine(RuleBasedStateMachine):
    """Submits, steps, reads, cancels, forks and fails; `engine.check()` after each."""

    kind: str

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[Stream, list[int], str]] = []
        self.now = 0.0
        self.fault: Exception | None = None
        self.prompts: list[tuple[int, ...]] = []

    @initialize(
        page=st.integers(1, 5),
        pages=st.integers(2, 14),
        batch=st.integers(1, 12),
        sequences=st.integers(1, 5),
        checkpoints=st.sampled_from([0, 5, 100]),
        context=st.integers(4, 60),
    )
    def make(self, page: int, pages: int, batch: int, sequences: int, checkpoints: int, context: int) -> None:
        options = CompileOptions(context=context, batch=batch, page=page)
        self.program = CheckingProgram(GRAPHS[self.kind], options)
        budget = Budget(tokens=pages * page, sequences=sequences, checkpoint_bytes=checkpoints)
        self.engine = Engine(self.program, budget=budget, queue=8)
        self.engine._stepper.clock = lambda: self.now
        self.ahead = stream_module.AHEAD
        stream_module.AHEAD = 7

    def _prompt(self, data: st.DataObject) -> list[int]:
        """A new prompt, or one that begins like an earlier one or its reply."""
        fresh = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=12))
        again: bool = data.draw(st.booleans())
        if self.prompts and again:
            earlier = data.draw(st.sampled_from(self.prompts))
            return [*earlier[: data.draw(st.integers(0, len(earlier)))], *fresh]
        return fresh

    def _submit(self, data: st.DataObject, prompt: list[int], parent: Stream | None) -> None:
        seed, most = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 20))
        context = self.engine.context
        given = parent is None and data.draw(st.booleans())
        shift = not given and data.draw(st.booleans())
        rows: Any = data.draw(st.sampled_from(["last", "all"]))
        short = list(prompt)
        while shift and len(short) > context - (most > 0):
            short = list(drop_middle(1)(short))
        expected, reason = alone(self.kind, tuple(short), seed, most, context, shift and context > 2)
        drafter = Guesser(len(short), expected) if not given and data.draw(st.booleans()) else None
        places = data.draw(st.sets(st.integers(0, len(prompt) - 1))) if given else set()
        request = Request(
            [-1 if place in places else token for place, token in enumerate(prompt)],
            embeddings=_rows(prompt, places) if given else None,
            max_tokens=most,
            end_ids=END,
            sampler=Sampler(SamplingOptions(seed=seed, steps=("temperature",))),
            outputs=data.draw(st.sampled_from([None, "hidden"])),
            rows=rows,
            drafter=drafter,
            overflow="shift" if shift and context > 2 else "stop",
            priority=data.draw(st.integers(0, 2)),
            deadline=data.draw(st.sampled_from([None, None, self.now + 5])),
            cache=data.draw(st.sampled_from([True, True, False])),
        )
        fits = len(request.prompt) + (most > 0) <= context or request.overflow == "shift"
        try:
            stream = self.engine.submit(request) if parent is None else self.engine.fork(parent, request)
        except ContextOverflowError:
            assert not fits
            return
        except QueueFullError:
            assert sum(not stream._channel.ended for stream, _, _ in self.open) >= 8
            return
        assert fits
        self.open.append((stream, expected, reason))
        self.prompts.append((*short, *expected))

    @rule(data=st.data())
    def submit(self, data: st.DataObject) -> None:
        self._submit(data, self._prompt(data), None)

    @precondition(lambda self: any(entry[0].request.embeddings is None for entry in self.open))
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        whole = [stream for stream, _, _ in self.open if stream.request.embeddings is None]
        parent = data.draw(st.sampled_from(whole))
        self._submit(data, list(parent.request.prompt), parent)

    @rule(count=st.integers(1, 6))
    def step(self, count: int) -> None:
        for _ in range(count):
            self.engine.step()
            self.engine.check()

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(self.open))[0]
        for _ in range(data.draw(st.integers(1, 9))):
            stream.poll()

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def read_one(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(self.open))[0]
        try:
            next(stream, None)
        except RuntimeError as error:
            assert error is self.fault

    @precondition(lambda self: self.open)
    @rule(data=st.data(), leave=st.booleans())
    def cancel(self, data: st.DataObject, leave: bool) -> None:
        entry = data.draw(st.sampled_from(self.open))
        if leave:
            entry[0].close()
        else:
            entry[0].cancel()

    @rule()
    def pass_time(self) -> None:
        self.now += 3

    @rule(interrupt=st.booleans())
    def fail(self, interrupt: bool) -> None:
        executor = self.program.executors[-1]
        self.fault = self.fault or RuntimeError("the step failed")
        error = KeyboardInterrupt() if interrupt else self.fault
        executor.faults = {executor.runs: error}
        try:
            self.engine.step()
        except KeyboardInterrupt:
            assert interrupt
        executor.faults = {}

    @rule(point=st.integers(1, 2500))
    def interrupt(self, point: int) -> None:
        """Ctrl-C in Python code of a step."""
        with suppress(KeyboardInterrupt), Interrupt(point, FOLDERS):
            self.engine.step()
            self.engine.step()

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.open))
        self.open.remove(entry)
        self._finish(*entry)

    def _finish(self, stream: Stream, expected: list[int], reason: str) -> None:
        closed = stream._channel.closed
        try:
            stream.result()
        except RuntimeError as error:
            assert error is self.fault
            assert stream.tokens == expected[: len(stream.tokens)]
            return
        if stream.finish_reason in ("cancelled", "deadline"):
            assert stream.tokens == expected[: len(stream.tokens)]
            return
        assert (stream.tokens, stream.finish_reason) == (expected, reason) or closed
        usage = stream.usage
        assert usage.draft_accepted <= usage.draft_proposed
        assert usage.cached_tokens < usage.prompt_tokens
        if stream.request.outputs is not None:
            prompt = _tokens(stream.request)
            while len(prompt) > self.engine.context - stream.request.generates:
                prompt = list(drop_middle(1)(prompt))
            rows = expected_outputs(self.program.graph, prompt)["hidden"]
            assert (stream.outputs == (rows if stream.request.rows == "all" else rows[-1:])).all()

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "engine"):
            self.engine.check()

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        try:
            for entry in self.open:
                self._finish(*entry)
            self.engine.step()
            self.engine.check()
            stats = self.engine.stats()
            assert (stats.waiting, stats.running) == (0, 0)
            assert not any(group.used for group in stats.groups), "pages or slots have leaked"
            self.engine.close()
        finally:
            stream_module.AHEAD = self.ahead


@pytest.mark.parametrize("kind", GRAPHS)
def test_every_reply_is_what_the_request_gets_alone(kind: str) -> None:
    machine = type("Machine", (EngineMachine,), {"kind": kind})
    examples = max(1, OPERATIONS // (len(GRAPHS) * STEPS // 2))
    quick = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        derandomize=OPERATIONS <= 600,
        database=None,
        phases=[Phase.generate] if "ZIGAI_SHRINK" not in os.environ else [Phase.generate, Phase.shrink],
    )
    run_state_machine_as_test(machine, settings=quick)
