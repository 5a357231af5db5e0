"""An engine over the checking executor: what requests get, and what happens to bad ones."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import (
    ContextOverflowError,
    QueueFullError,
    TokenizerError,
    UnsupportedError,
    ZigAIError,
)
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Budget, Request, drop_middle
from zigai_core.engine.sampling import Sampler
from zigai_core.testing.engine.checking_executor import CheckingProgram, checking_graph
from zigai_core.testing.engine.expected_replies import expected_outputs, reply_alone

GREEDY = SamplingOptions.greedy()


def make(*, context: int = 64, batch: int = 16, page: int = 4, **graph: Any) -> CheckingProgram:
    return CheckingProgram(checking_graph(**graph), CompileOptions(context=context, batch=batch, page=page))


def ask(prompt: list[int], most: int | None = 5, **fields: Any) -> Request:
    fields.setdefault("sampler", Sampler(GREEDY))
    return Request(prompt, max_tokens=most, **fields)


def alone(program: CheckingProgram, prompt: list[int], most: int | None = 5, **fields: Any) -> list[int]:
    context = program.options.context
    return reply_alone(program.graph, prompt, GREEDY, context=context, max_tokens=most, **fields)[0]


def test_requests_that_can_never_fit_are_refused_with_both_numbers() -> None:
    program = make(context=64)
    with Engine(program, budget=Budget(tokens=12)) as engine:
        with pytest.raises(ContextOverflowError, match=r"the prompt has 12 tokens, and the budget holds 12"):
            engine.submit(ask([1] * 12))
        assert engine.submit(ask([1] * 12, 0, outputs="hidden")).outputs.shape == (1, 4)
    with Engine(program, budget=Budget(tokens=640)) as engine:
        with pytest.raises(ContextOverflowError, match=r"the prompt has 64 tokens, and the context holds 64"):
            engine.submit(ask([1] * 64))
        with pytest.raises(UnsupportedError, match="no output named other"):
            engine.submit(ask([1], outputs="other"))
        with pytest.raises(TokenizerError, match="token 50"):
            engine.submit(ask([50]))


def test_a_full_queue_refuses_at_once() -> None:
    with Engine(make(), queue=2) as engine:
        streams = [engine.submit(ask([1, 2])) for _ in range(2)]
        with pytest.raises(QueueFullError, match="holds 2"):
            engine.submit(ask([1]))
        engine.step()
        streams.append(engine.submit(ask([1])))
        assert [stream.result().finish_reason for stream in streams] == ["length"] * 3


def test_cancelled_requests_leave_a_full_queue() -> None:
    with Engine(make(), queue=3) as engine:
        kept = engine.submit(ask([1]))
        for _ in range(50):
            engine.submit(ask([2])).cancel()
            engine.submit(ask([3], deadline=0.0))
        assert engine.stats().waiting <= 3 and len(engine._inbox.commands) <= 3
        more = [engine.submit(ask([4])), engine.submit(ask([5]))]
        with pytest.raises(QueueFullError, match="3 requests are waiting already"):
            engine.submit(ask([6]))
        assert engine.stats().steps == 0
        assert all(stream.result().finish_reason == "length" for stream in [kept, *more])


def test_only_requests_are_counted_as_waiting() -> None:
    with Engine(make()) as engine:
        streams = [engine.submit(ask([1])) for _ in range(3)]
        streams[0].cancel()
        engine.wake()
        assert engine.stats().waiting == 3
        engine.step()
        assert (engine.stats().waiting, engine.stats().running) == (0, 2)


def test_no_tokens_are_generated_for_max_tokens_0() -> None:
    program = make()
    with Engine(program) as engine:
        stream = engine.submit(ask([1, 2, 3], 0)).result()
        assert (stream.tokens, stream.finish_reason) == ([], "length")
        rows = engine.submit(ask([1, 2, 3], 2, outputs="logits", rows="all")).result()
        assert rows.tokens == alone(program, [1, 2, 3], 2)
        np.testing.assert_array_equal(rows.outputs, expected_outputs(program.graph, [1, 2, 3])["logits"])


def test_outputs_of_all_tokens_take_no_prefix() -> None:
    with Engine(make()) as engine:
        prompt = list(range(1, 21))
        engine.submit(ask(prompt)).result()
        assert engine.submit(ask(prompt)).result().usage.cached_tokens == 19
        assert engine.submit(Request(prompt, outputs="hidden", rows="all")).result().usage.cached_tokens == 0


@pytest.mark.parametrize("graph", [{}, {"full": False, "windows": [5]}, {"windows": [5]}])
def test_a_prefix_ends_inside_a_page(graph: Any) -> None:
    program = make(**graph)
    with Engine(program) as engine:
        engine.submit(ask([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])).result()
        second = engine.submit(ask([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 21])).result()
        assert second.usage.cached_tokens == 10
        assert second.tokens == alone(program, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 21])


def test_a_recurrent_prefix_ends_at_a_checkpoint() -> None:
    program = make(recurrent=True)
    with Engine(program) as engine:
        first = engine.submit(ask(list(range(1, 12)), 10)).result()
        assert engine.submit(ask([*range(1, 11), 30, 31])).result().usage.cached_tokens == 8
        follow = [*range(1, 12), *first.tokens, 7]
        assert engine.submit(ask(follow)).result().usage.cached_tokens == 20


def test_eight_requests_with_a_common_prefix_compute_it_once() -> None:
    with Engine(make(context=512, batch=64, page=16)) as engine:
        prefix = [1 + i % 40 for i in range(200)]
        engine.submit(ask(prefix, 1)).result()
        before = engine.stats().computed_tokens
        streams = [engine.submit(ask([*prefix, *([i] * 20)], 1)) for i in range(8)]
        for stream in streams:
            stream.result()
        assert engine.stats().computed_tokens - before <= 8 * 20 * 1.1


def test_a_fork_waits_for_the_prompt_and_shares_it() -> None:
    program = make(batch=8)
    with Engine(program) as engine:
        prompt = list(range(1, 27))
        parent = engine.submit(ask(prompt))
        forks = [engine.fork(parent, ask(prompt, sampler=Sampler(GREEDY))) for _ in range(3)]
        for fork in forks:
            assert fork.result().tokens == alone(program, prompt)
            assert fork.usage.cached_tokens == 25


def test_a_second_turn_computes_only_what_is_new() -> None:
    with Engine(make(context=256, page=16)) as engine:
        first = engine.submit(ask(list(range(1, 40)), 20)).result()
        turn = [*range(1, 40), *first.tokens, 3, 4, 5]
        assert engine.submit(ask(turn)).result().usage.computed_tokens <= 4


def test_a_failing_sampler_text_or_drafter_ends_its_request_alone() -> None:
    class Bad:
        stopped = None
        vocabulary = None

        def __getattr__(self, name: str) -> Any:
            def fail(*_: object) -> None:
                raise OSError(name)

            return fail

    class BadSampler(Sampler):
        def sample(self, *_: Any, **__: Any) -> int:
            raise OSError("sample")

    program = make()
    for fields in ({"text": Bad()}, {"drafter": Bad()}, {"sampler": BadSampler(GREEDY)}):
        with Engine(program) as engine:
            bad, good = engine.submit(ask([1, 2], 9, **fields)), engine.submit(ask([3], 9))
            assert good.result().tokens == alone(program, [3], 9)
            with pytest.raises(OSError, match=r"push|missing|sample"):
                bad.result()
            engine.check()
            assert not engine.stats().groups[0].used


def test_a_request_that_cannot_be_scheduled_ends_alone() -> None:
    program = make()
    with Engine(program) as engine:
        good = engine.submit(ask([1], 9))
        next(good)
        request = ask([2])
        object.__setattr__(request, "priority", None)
        bad = engine.submit(request)
        with pytest.raises(TypeError):
            bad.result()
        with pytest.raises(TypeError):  # it came while the engine added the other
            good.result()
        assert engine.submit(ask([3])).result().tokens == alone(program, [3])
        engine.check()


def test_a_first_step_that_fails_leaks_nothing() -> None:
    program = make(windows=[5], recurrent=True)
    with Engine(program) as engine:
        streams = [engine.submit(ask([1, 2, 3])), engine.submit(ask([4]))]
        program.executors[0].faults = {0: RuntimeError("no")}
        for stream in streams:
            with pytest.raises(RuntimeError, match="no"):
                stream.result()
        engine.check()
        assert all(group.free == group.total for group in engine.stats().groups)
        assert engine.submit(ask([1, 2, 3])).result().tokens == alone(program, [1, 2, 3])


def test_the_deadline_ends_a_request() -> None:
    with Engine(make()) as engine:
        stream = engine.submit(ask([1], None, deadline=time.monotonic() - 1)).result()
        assert (stream.tokens, stream.finish_reason) == ([], "deadline")


@pytest.mark.parametrize("overflow", ["stop", "error", "shift"])
def test_a_full_context(overflow: Any) -> None:
    program = make(context=12)
    with Engine(program) as engine:
        stream = engine.submit(ask([1, 2, 3], 30, overflow=overflow))
        if overflow == "shift":
            assert stream.result().tokens == alone(program, [1, 2, 3], 30, shift=drop_middle(1))
            assert stream.usage.dropped_tokens > 0
        elif overflow == "error":
            with pytest.raises(ContextOverflowError, match="12 tokens is full"):
                stream.result()
            assert len(stream.tokens) == 9
        else:
            assert (len(stream.result().tokens), stream.finish_reason) == (9, "context")


def test_priorities_go_first() -> None:
    with Engine(make(), budget=Budget(tokens=64, sequences=1)) as engine:
        low, high = engine.submit(ask([1])), engine.submit(ask([2], priority=1))
        high.result()
        assert not low.tokens and low.finish_reason is None and engine.stats().running == 0
        assert low.result().finish_reason == "length"


def test_a_reader_that_stops_holds_nobody_up() -> None:
    program = make(context=256)
    with Engine(program, budget=Budget(tokens=256)) as engine:
        slow = engine.submit(ask([1, 2], 200))
        quick = engine.submit(ask([3], 200))
        assert quick.result().tokens == alone(program, [3], 200)
        assert slow._channel.delivered == 64
        assert slow.usage.preemptions and not quick.usage.preemptions
        assert slow.result().tokens == alone(program, [1, 2], 200)


def test_logprobs_are_those_of_the_model_before_edits() -> None:
    program = make()
    with Engine(program) as engine:
        biased = Sampler(SamplingOptions(temperature=0, logit_bias={7: 100}))
        stream = engine.submit(ask([1, 2], 1, sampler=biased, logprobs=3)).result()
    row = expected_outputs(program.graph, [1, 2])["logits"][-1].astype(float)
    logprobs = row - np.log(np.exp(row).sum())
    (entry,) = stream.logprobs
    assert stream.tokens == [7] and entry.logprob == pytest.approx(logprobs[7])
    assert list(entry.ids) == np.argsort(-row, kind="stable")[:3].tolist()
    assert entry.logprobs == pytest.approx(logprobs[list(entry.ids)].tolist())


def test_an_encoder_gets_whole_sequences() -> None:
    program = make(full=False)
    with Engine(program) as engine:
        streams = [engine.submit(Request([i] * 9, outputs="hidden", rows="all")) for i in (1, 2, 3)]
        assert [stream.outputs.shape for stream in streams] == [(9, 4)] * 3
        with pytest.raises(UnsupportedError, match="encoder"):
            engine.submit(ask([1]))


@pytest.mark.parametrize(
    ("batch", "limit"),
    [
        (16, r"17 tokens, and a step, which .* holds 16; .* or compile the program with a larger batch$"),
        (64, r"65 tokens, and the context holds 64; .* or use a larger context$"),
    ],
)
def test_the_limit_of_an_encoder_is_named(batch: int, limit: str) -> None:
    with Engine(make(full=False, batch=batch), budget=Budget(tokens=8)) as engine:
        assert engine.submit(Request([1] * batch, outputs="hidden")).outputs.shape == (1, 4)
        with pytest.raises(ContextOverflowError, match=limit):
            engine.submit(Request([1] * (batch + 1), outputs="hidden"))


@pytest.mark.parametrize(("most", "helps"), [(5, True), (0, False)])
def test_shift_is_advised_only_where_it_helps(most: int, helps: bool) -> None:
    with Engine(make(context=12)) as engine:
        with pytest.raises(ContextOverflowError) as caught:
            engine.submit(ask([1] * 13, most, outputs="hidden"))
        assert ("overflow policy shift" in str(caught.value)) == helps
        assert engine.submit(ask([1] * 13, overflow="shift")).result().usage.dropped_tokens


class HoldsBack:
    """Text that is one token late."""

    stopped = None
    state = ""

    def push(self, token: int) -> str:
        text, self.state = self.state, f"{token} "
        return text

    def finish(self) -> str:
        return self.state


def test_a_channel_knows_the_text_delivered_and_the_text_read() -> None:
    with Engine(make()) as engine:
        stream = engine.submit(ask([1, 2], 4, text=HoldsBack()))
        channel = stream.channel
        while engine.step():
            pass
        assert len(channel.text.split()) == 4 and channel.read == stream.text == ""
        next(stream)
        piece = stream.poll()
        assert piece is not None and channel.read == stream.text == piece.text
        assert stream.result().text == channel.read == channel.text


def test_a_closed_engine_ends_its_streams() -> None:
    engine = Engine(make())
    stream = engine.submit(ask([1], None))
    next(stream)
    engine.close()
    assert stream.result().finish_reason == "cancelled" and len(stream.tokens) == 1
    with pytest.raises(ZigAIError, match="closed"):
        engine.submit(ask([1]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_after_a_fork_of_the_process_streams_raise_and_requests_work() -> None:
    program = make()
    engine = Engine(program)
    stream = engine.submit(ask([1, 2], 20))
    next(stream)
    child = os.fork()
    if not child:
        try:
            with pytest.raises(ZigAIError, match="forked"):
                next(stream)
            with pytest.raises(ZigAIError, match="forked"):
                _ = stream.outputs
            assert engine.submit(ask([3])).result().tokens == alone(program, [3])
            assert len(program.executors) == 2
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert stream.result().tokens == alone(program, [1, 2], 20)
