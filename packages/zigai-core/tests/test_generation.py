"""A reply: where it ends and why, what the full context does to it, and how it is stopped."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import ContextOverflowError, SamplingError, TokenizerError
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.engine.generation import Generation
from zigai_core.engine.runner import Runner
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.session import Session
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_decoder

MODEL = toy_decoder(layers=1)
TOKENIZER = ByteTokenizer(MODEL.tokenizer)
PROGRAM = NumpyBackend().compile(
    decoder(MODEL, context=64, pairing="adjacent"),
    MODEL.tensors,
    CompileOptions(context=40, batch=16, page=8),
)
GREEDY = SamplingOptions.greedy()


def reply(prompt: str | list[int], options: SamplingOptions = GREEDY, **keywords: object) -> Generation:
    tokens = TOKENIZER.encode(prompt) if isinstance(prompt, str) else prompt
    return Generation(Session(Runner(PROGRAM)), tokens, TOKENIZER, Sampler(options), **keywords)


def scripted(text: str, *, end: bool = True, **keywords: object) -> Generation:
    """A reply whose tokens are given: a sampler that says them one by one."""
    said = iter([*TOKENIZER.encode(text, bos=False), *([2] if end else [])])
    made = reply("x", **keywords)
    made._sampler.sample = lambda logits: next(said)
    return made


def test_greedy_tokens_are_the_likeliest_ones() -> None:
    made = reply("ab", max_tokens=8)
    text = "".join(made)
    session = Session(Runner(PROGRAM))
    session.extend(TOKENIZER.encode("ab"))
    for token in made.tokens:
        assert token == int(np.argmax(session.logits()))
        session.extend([token])
    assert made.text == text == TOKENIZER.decode(made.tokens)


def test_it_ends_where_the_model_ends_it() -> None:
    made = scripted("done")
    assert made.complete() == "done"
    assert made.finish_reason == "end"
    assert made.session.tokens[-1] != 2


def test_a_prompt_without_tokens_is_refused() -> None:
    with pytest.raises(TokenizerError, match="the prompt has no tokens"):
        reply([]).complete()


def test_max_tokens_of_0_generates_nothing() -> None:
    made = reply("ab", max_tokens=0)
    assert (made.complete(), made.tokens, made.finish_reason) == ("", [], "length")


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "3"])
def test_max_tokens_that_is_no_count_is_refused(wrong: Any) -> None:
    with pytest.raises(SamplingError, match="max_tokens must be a whole number"):
        reply("ab", max_tokens=wrong)


def test_max_tokens_ends_it() -> None:
    made = scripted("abcdef", max_tokens=3)
    assert (made.complete(), made.finish_reason, made.stats.generated_tokens) == ("abc", "length", 3)


def test_a_stop_string_ends_it_and_is_not_shown() -> None:
    made = scripted("one END two", stop=["END"])
    pieces = list(made)
    assert ("".join(pieces), made.text, made.finish_reason) == ("one ", "one ", "stop")


def test_pieces_are_whole_characters() -> None:
    pieces = list(scripted("aé漢🙂"))
    assert pieces == ["a", "é", "漢", "🙂"]


def test_half_a_character_at_the_end_is_replaced() -> None:
    made = reply("x", max_tokens=2)
    said = iter(TOKENIZER.encode("🙂", bos=False))
    made._sampler.sample = lambda logits: next(said)
    assert made.complete() == "�"


def test_the_same_seed_gives_the_same_text_and_another_one_another() -> None:
    texts = [
        reply("ab", SamplingOptions(temperature=1.5, seed=seed), max_tokens=12).complete()
        for seed in (3, 3, 4)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_counts_and_times_add_up() -> None:
    made = reply("abc", max_tokens=5)
    made.complete()
    stats = made.stats
    assert (stats.prompt_tokens, stats.cached_tokens, stats.generated_tokens) == (4, 0, 5)
    assert 0 < stats.prefill_seconds <= stats.time_to_first_token
    assert stats.prefill_tps > 0
    assert stats.decode_tps > 0


def test_a_second_prompt_computes_only_what_is_new() -> None:
    first = reply("abc", max_tokens=3)
    first.complete()
    again = Generation(
        first.session, [*first.session.tokens, 70, 71], TOKENIZER, Sampler(GREEDY), max_tokens=2
    )
    again.complete()
    assert again.stats.cached_tokens == 6


class TestAFullContext:
    def test_stop_ends_the_reply_and_says_so(self) -> None:
        made = scripted("y" * 100, overflow="stop")
        assert made.complete() == "y" * 38
        assert (made.finish_reason, made.session.length) == ("context", 40)

    def test_stop_does_not_begin_a_reply_to_a_prompt_that_is_too_long(self) -> None:
        made = reply([5] * 40, overflow="stop")
        assert (made.complete(), made.finish_reason, made.tokens) == ("", "context", [])
        assert made.stats.computed_tokens == 0

    def test_error_raises_for_the_prompt_and_for_the_reply(self) -> None:
        with pytest.raises(ContextOverflowError, match="0 \\+ 41 tokens do not fit into a context of 40"):
            reply([5] * 41, overflow="error").complete()
        made = scripted("y" * 100, overflow="error")
        with pytest.raises(ContextOverflowError, match="context of 40 tokens is full"):
            made.complete()
        assert made.text == "y" * 38

    def test_shift_drops_the_oldest_and_goes_on_as_if_they_had_never_been(self) -> None:
        made = reply("abc", overflow="shift", max_tokens=60)
        made.complete()
        assert (made.finish_reason, len(made.tokens)) == ("length", 60)
        assert made.stats.dropped_tokens > 0
        assert made.session.tokens[0] == 1
        fresh = Session(Runner(PROGRAM))
        fresh.extend(made.session.tokens)
        np.testing.assert_allclose(made.session.logits(), fresh.logits(), atol=1e-5)

    def test_shift_keeps_the_end_of_a_prompt_that_is_too_long(self) -> None:
        made = reply([1, *range(100, 160)], overflow="shift", max_tokens=1)
        made.complete()
        assert (made.stats.dropped_tokens, made.stats.prompt_tokens) == (31, 30)
        assert made.session.tokens[:2] == (1, 131)
        assert made.session.tokens[29] == 159


class TestCancelling:
    def test_it_ends_the_reply_and_leaves_the_session_usable(self) -> None:
        made = scripted("abcdef")
        assert next(made) == "a"
        made.cancel()
        assert list(made) == []
        assert (made.finish_reason, made.text) == ("cancelled", "a")
        made.session.extend([5])
        assert made.session.logits().shape == (512,)

    def test_from_another_thread(self) -> None:
        made = scripted("a" * 30, end=False)
        for count, _ in enumerate(made):
            if count == 3:
                thread = threading.Thread(target=made.cancel)
                thread.start()
                thread.join()
        assert (made.text, made.finish_reason) == ("aaaa", "cancelled")

    def test_after_the_end_it_does_nothing(self) -> None:
        made = scripted("ab")
        made.complete()
        made.cancel()
        assert made.finish_reason == "end"
        made.session.extend([5])
        made.session.logits()

    def test_before_the_beginning_nothing_is_computed(self) -> None:
        made = reply("ab")
        made.cancel()
        assert (list(made), made.finish_reason, made.session.cached) == ([], "cancelled", 0)
