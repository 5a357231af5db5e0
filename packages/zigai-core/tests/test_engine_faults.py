"""Faults of one request, and of its reader, do not reach others."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.batch import Batch, Pages
from zigai_core.contracts.errors import TokenizerError, UnsupportedError, ZigAIError
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.contracts.plugins import Outputs
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Budget, Request
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.stream import Stream
from zigai_core.testing.engine.checking_executor import CheckingProgram, checking_graph
from zigai_core.testing.engine.scripted import scripted_model
from zigai_core.text.chat_template import ChatTemplate


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


def test_a_first_step_that_is_cancelled_leaks_nothing() -> None:
    options = CompileOptions(context=64, batch=16, page=4)
    program = CheckingProgram(checking_graph(windows=[5], recurrent=True), options)
    with Engine(program, budget=Budget(tokens=64, sequences=3, checkpoint_bytes=8)) as engine:
        executor = program.executors[0]
        streams: list[Stream] = []
        executor.before_run = lambda *_: streams[-1].cancel()
        for _ in range(20):
            stream = engine.submit(ask(range(1, 31)))
            streams.append(stream)
            assert stream.result().tokens == [] and stream.finish_reason == "cancelled"
            engine.check()
            assert all(group.free == group.total for group in engine.stats().groups)
        assert engine.stats().failed_steps == 20
        executor.before_run = None
        assert len(engine.submit(ask(range(1, 31))).result().tokens) == 12


@pytest.mark.parametrize("pages", range(3, 9))
def test_forks_near_the_end_of_the_pool_get_what_they_get_alone(pages: int) -> None:
    prompt, program = [1, *range(10, 26)], scripted_model().program
    with Engine(program) as engine:
        alone = [
            engine.submit(Request(prompt, max_tokens=7, sampler=Sampler(options))).result().tokens
            for options in (SamplingOptions(seed=seed, temperature=1.5) for seed in range(4))
        ]
    with Engine(program, budget=Budget(tokens=8 * pages)) as engine:
        first = engine.submit(
            Request(prompt, max_tokens=7, sampler=Sampler(SamplingOptions(seed=0, temperature=1.5)))
        )
        next(first)
        forks = [
            engine.fork(
                first,
                Request(prompt, max_tokens=7, sampler=Sampler(SamplingOptions(seed=seed, temperature=1.5))),
            )
            for seed in (1, 2, 3)
        ]
        assert [stream.result().tokens for stream in (first, *forks)] == alone
        assert all(fork.usage.cached_tokens for fork in forks)
        engine.check()
        assert not engine.stats().groups[0].used


def test_no_place_is_written_twice_in_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine(scripted_model().program) as engine:
        executor = engine._stepper.executor
        run = executor.run
        together: list[int] = []

        def look(batch: Batch, stop: Any) -> Outputs:
            pages = batch.groups[0]
            assert isinstance(pages, Pages)
            places = {
                (int(pages.tables[sequence][index // 8]), index % 8)
                for sequence, index in zip(batch.sequences.tolist(), batch.index.tolist(), strict=True)
            }
            assert len(places) == len(batch)
            together.append(len(pages.tables))
            return run(batch, stop)

        monkeypatch.setattr(executor, "run", look)
        prompt = [1, *range(10, 20)]
        same = [engine.submit(ask(prompt)) for _ in range(3)]
        same.append(engine.fork(same[0], ask(prompt)))
        texts = [stream.result().tokens for stream in same]
        assert texts == [texts[0]] * 4 and max(together) == 4


def test_the_deadline_ends_a_reply_in_the_middle() -> None:
    with Engine(scripted_model().program) as engine:
        now = 0.0
        engine._stepper.clock = lambda: now
        stream, other = engine.submit(ask([1, 2], deadline=5.0)), engine.submit(ask([1, 3]))
        for _ in range(4):
            next(stream)
        now = 6.0
        assert len(stream.result().tokens) < 12 and stream.finish_reason == "deadline"
        assert len(other.result().tokens) == 12
        engine.check()


def test_closing_a_reply_whose_drafts_are_computed_changes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    program, prompts = scripted_model().program, ([1, 2], [1, 3])
    with Engine(program) as engine:
        alone = [engine.submit(ask(prompt, 20)).result().tokens for prompt in prompts]

    class Right:
        def __init__(self, reply: Sequence[int]) -> None:
            self.reply = reply

        def propose(self, tokens: Sequence[int], count: int) -> list[int]:
            return list(self.reply[len(tokens) - 2 :][:count])

    with Engine(program) as engine:
        executor = engine._stepper.executor
        run = executor.run
        closed: list[int] = []

        def close(batch: Batch, stop: Any) -> Outputs:
            outputs = run(batch, stop)
            if not closed and batch.index.min() >= 2 and np.bincount(batch.sequences).tolist()[0] > 2:
                closed.append(len(batch))
                left.close()
            return outputs

        monkeypatch.setattr(executor, "run", close)
        left, other = (
            engine.submit(ask(prompt, 20, drafter=Right(reply)))
            for prompt, reply in zip(prompts, alone, strict=True)
        )
        next(left)
        assert other.result().tokens == alone[1]
        assert other.usage.draft_accepted > 8
        assert closed and closed[0] > 4, "no draft tokens of both were in a step"
        assert left.finish_reason == "cancelled" and left.tokens == alone[0][:1]
        engine.check()
        assert not engine.stats().groups[0].used


def test_chats_of_a_model_share_one_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    model = scripted_model(context=64)
    made: list[object] = []
    new_executor = type(model.program).new_executor

    def counted(program: Any, sizes: Sequence[int]) -> Any:
        made.append(sizes)
        return new_executor(program, sizes)

    monkeypatch.setattr(type(model.program), "new_executor", counted)
    threads = threading.active_count()
    chats = [model.chat(template=ChatTemplate("{{ messages[-1].content }}")) for _ in range(20)]
    assert all(chat.send("x", temperature=0, max_tokens=2).tokens is not None for chat in chats)
    replies = [chat.send("y", temperature=0, max_tokens=2) for chat in chats]
    assert len({reply.text for reply in replies}) == 1
    assert len(made) == 1 and threading.active_count() == threads


def test_a_request_is_submitted_once() -> None:
    with Engine(scripted_model().program) as engine:
        request = ask([1, 2])
        stream = engine.submit(request)
        for _ in range(2):
            with pytest.raises(ZigAIError, match="this request was submitted before"):
                engine.submit(request)
            stream.result()


def test_a_sampler_draws_for_one_reply_at_a_time() -> None:
    sampler = Sampler(SamplingOptions.greedy())
    with Engine(scripted_model().program) as engine:
        stream = engine.submit(Request([1, 2], max_tokens=4, sampler=sampler))
        with pytest.raises(ZigAIError, match="belongs to a reply that has not ended"):
            engine.submit(Request([1, 2], max_tokens=4, sampler=sampler))
        tokens = stream.result().tokens
        assert engine.submit(Request([1, 2], max_tokens=4, sampler=sampler)).result().tokens == tokens


def test_a_prompt_holds_whole_numbers() -> None:
    for wrong in ([1.7, 2.2], [True, False], ["a"]):
        with pytest.raises(TokenizerError, match="the prompt must be token ids"):
            ask(wrong)  # type: ignore[arg-type]


def test_numbers_of_numpy_do_not_wrap() -> None:
    request = ask([1], np.uint8(255), priority=np.uint8(5))  # type: ignore[arg-type]
    assert (request.max_tokens, -request.priority) == (255, -5)
    assert type(request.max_tokens) is type(request.priority) is int
