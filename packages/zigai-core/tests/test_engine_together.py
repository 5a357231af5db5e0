"""Requests that share an engine: none waits for ever for another, or for what another has left undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from zigai_core.contracts.errors import QueueFullError, ZigAIError
from zigai_core.contracts.options import SamplingOptions
from zigai_core.engine import stepper as stepper_module
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Budget, Request
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.stream import Stream
from zigai_core.testing.engine.scripted import ScriptedSampler, scripted_model


def ask(prompt: Sequence[int], tokens: int = 12, **fields: Any) -> Request:
    fields.setdefault("sampler", Sampler(SamplingOptions.greedy()))
    return Request(prompt, max_tokens=tokens, **fields)


def step(engine: Engine, streams: Sequence[Stream]) -> None:
    engine.step()
    for stream in streams:
        while stream.poll() is not None:
            pass


class Right:
    """Proposes what a `ScriptedSampler([70])` draws."""

    def propose(self, tokens: Sequence[int], count: int) -> list[int]:
        return [70] * count


class Leaves:
    """A drafter that ends the program, as it thinks."""

    def propose(self, tokens: Sequence[int], count: int) -> list[int]:
        raise SystemExit


def test_accepted_draft_tokens_leave_rows_for_a_prompt() -> None:
    model = scripted_model(batch=16, context=400)
    with Engine(model.program, budget=Budget(tokens=4000)) as engine:
        streams = [
            engine.submit(ask([1, 70 + place], 380, sampler=ScriptedSampler([70]), drafter=Right()))
            for place in range(2)
        ]
        for _ in range(8):
            step(engine, streams)
        prompt = engine.submit(ask(range(3, 40), 2))
        for _ in range(12):
            step(engine, streams)
        assert prompt.usage.generated_tokens


def test_every_running_request_has_an_output_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepper_module, "OUTPUT_BYTES", 16 * 4 * 512)
    budget = Budget(tokens=8000, sequences=32)
    with Engine(scripted_model(batch=64, context=200).program, budget=budget) as engine:
        streams = [engine.submit(ask([1, 70 + place], 20)) for place in range(20)]
        for _ in range(10):
            step(engine, streams)
        stats = engine.stats()
        assert stats.running == 16
        assert {stream.usage.generated_tokens for stream in streams[:16]} == {10}


@pytest.mark.parametrize("background", [False, True])
def test_an_exit_in_a_drafter_ends_its_request_alone(background: bool) -> None:
    with Engine(scripted_model().program) as engine:
        if background:
            engine.start()
        broken, sound = engine.submit(ask([1, 2], drafter=Leaves())), engine.submit(ask([1, 3]))
        assert len(sound.result().tokens) == 12
        with pytest.raises(SystemExit):
            broken.result()
        engine.start()
        assert len(engine.submit(ask([1, 4])).result().tokens) == 12


@pytest.mark.parametrize("fails", [False, True])
def test_another_of_n_replies_computes_the_prompt_of_a_first_one_that_ended(fails: bool) -> None:
    model = scripted_model(context=2000, batch=512)
    replies = model.replies("x" * 60, 8, temperature=0, max_tokens=4)
    if fails:
        replies[0].cancel()
    assert len({reply.text for reply in replies[1:]}) == 1
    assert model.stats().computed_tokens <= 60 + 8 * 5


def test_a_request_that_found_the_queue_full_may_be_submitted_later() -> None:
    with Engine(scripted_model().program, queue=1) as engine:
        first, request = engine.submit(ask([1, 2])), ask([1, 3])
        with pytest.raises(QueueFullError):
            engine.submit(request)
        first.result()
        assert len(engine.submit(request).result().tokens) == 12


def test_a_stream_of_another_engine_is_not_forked() -> None:
    program = scripted_model().program
    with Engine(program) as one, Engine(program) as two:
        stream = one.submit(ask([1, 2]))
        with pytest.raises(ZigAIError, match="the stream is one of another engine"):
            two.fork(stream, ask([1, 2]))
