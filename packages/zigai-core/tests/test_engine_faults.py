"""Faults of one request, and of its reader, do not reach others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from zigai_core.contracts.errors import UnsupportedError, ZigAIError
from zigai_core.contracts.options import SamplingOptions
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Request
from zigai_core.engine.sampling import Sampler
from zigai_core.testing.scripted import scripted_model


def ask(prompt: Sequence[int], tokens: int = 12, **keywords: Any) -> Request:
    return Request(prompt, max_tokens=tokens, sampler=Sampler(SamplingOptions.greedy()), **keywords)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"priority": "high"}, "priority must be a whole number"),
        ({"priority": None}, "priority must be a whole number"),
        ({"deadline": float("nan")}, "deadline must be a finite time"),
        ({"deadline": "5"}, "deadline must be a finite time"),
    ],
)
def test_values_that_would_break_the_order_of_requests_are_refused(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(UnsupportedError, match=text):
        ask([1], **wrong)


def test_outputs_of_a_closed_stream_are_an_error() -> None:
    with Engine(scripted_model().program) as engine:
        stream = engine.submit(Request([1, 2, 3], outputs="hidden"))
        stream.close()
        with pytest.raises(ZigAIError, match="before its outputs were computed"):
            stream.outputs  # noqa: B018


def test_draft_tokens_leave_room_for_the_others() -> None:
    class Eager:
        def propose(self, tokens: Sequence[int], count: int) -> list[int]:
            return [5] * count

    with Engine(scripted_model(batch=8).program) as engine:
        streams = [engine.submit(ask([1, place], 20, drafter=Eager())) for place in range(3, 7)]
        for _ in range(12):
            engine.step()
            counts = [stream.usage.generated_tokens for stream in streams]
            for stream in streams:
                while stream.poll() is not None:
                    pass
        assert min(counts) >= 8


def test_an_ended_request_does_not_wait_for_its_deadline() -> None:
    with Engine(scripted_model().program) as engine:
        for _ in range(40):
            engine.submit(ask([1, 2], 1, deadline=1e12)).result()
        assert len(engine._stepper._deadlines) <= 20


def test_an_exit_in_a_callback_ends_its_request_alone() -> None:
    with Engine(scripted_model().program) as engine:
        broken, sound = engine.submit(ask([1, 2])), engine.submit(ask([1, 3]))

        def leave() -> None:
            raise SystemExit

        broken.on_ready(leave)
        engine.start()
        assert len(sound.result().tokens) == 12
        with pytest.raises(SystemExit):
            broken.result()
        assert len(engine.submit(ask([1, 4])).result().tokens) == 12


def test_a_cancellation_whose_command_is_lost_ends_the_request() -> None:
    with Engine(scripted_model().program) as engine:
        stream = engine.submit(ask([1, 2]))
        next(stream)
        stream.channel.cancelled = True  # as after an interrupt between the two parts of `cancel`
        list(stream)
        assert stream.finish_reason == "cancelled"
        engine.check()
