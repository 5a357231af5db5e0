"""A reply: where it ends and why, what a full context does to it, and how it is stopped."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest

from zigai_core.api import model as model_module
from zigai_core.api.model import Model
from zigai_core.api.reply import Reply
from zigai_core.contracts.errors import (
    ContextOverflowError,
    SamplingError,
    TokenizerError,
    ZigAIError,
)
from zigai_core.testing.engine.scripted import scripted_model
from zigai_core.text.chat_template import ChatTemplate


def reply(prompt: str | list[int], *, model: Model | None = None, **keywords: Any) -> Reply:
    """A greedy reply of the toy."""
    return (model or scripted_model(context=40)).generate(prompt, **({"temperature": 0} | keywords))


def scripted(text: str, **keywords: Any) -> Reply:
    """A reply of given text."""
    return reply("x", model=scripted_model(text, context=40), **keywords)


def test_greedy_tokens_are_the_most_likely_ones() -> None:
    model = scripted_model(context=40)
    made = reply("ab", model=model, max_tokens=8)
    text = "".join(made)
    tokens = model.tokenizer.encode("ab")
    for token in made.tokens:
        assert token == int(np.argmax(model.logits(tokens)[-1]))
        tokens.append(token)
    assert made.text == str(made) == text == model.tokenizer.decode(made.tokens)


def test_it_ends_where_the_model_ends_it() -> None:
    made = scripted("done")
    assert made.finish_reason is None
    assert (made.text, made.finish_reason, made.tokens[-1]) == ("done", "end", ord("e") + 3)


def test_a_prompt_without_tokens_is_refused() -> None:
    with pytest.raises(TokenizerError, match="the prompt has no tokens"):
        reply([])


def test_max_tokens_of_0_generates_nothing() -> None:
    made = reply("ab", max_tokens=0)
    assert (made.text, made.tokens, made.finish_reason) == ("", [], "length")


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "3"])
def test_max_tokens_that_is_no_count_is_refused(wrong: Any) -> None:
    with pytest.raises(SamplingError, match="max_tokens must be a whole number"):
        reply("ab", max_tokens=wrong)


def test_sampling_options_are_keywords_and_unknown_ones_are_refused() -> None:
    with pytest.raises(SamplingError, match=r"no option 'temprature'; did you mean temperature\?"):
        reply("ab", temprature=1)
    with pytest.raises(SamplingError, match="temperature must be a number"):
        reply("ab", temperature=-1)


def test_max_tokens_ends_it() -> None:
    made = scripted("abcdef", max_tokens=3)
    assert (made.text, made.finish_reason, made.usage.generated_tokens) == ("abc", "length", 3)


@pytest.mark.parametrize("stop", [["END"], "END"])
def test_a_stop_string_ends_it_and_is_not_shown(stop: Any) -> None:
    made = scripted("one END two", stop=stop)
    pieces = list(made)
    assert ("".join(pieces), made.text, made.finish_reason) == ("one ", "one ", "stop")


def test_pieces_are_whole_characters() -> None:
    assert list(scripted("aé漢🙂")) == ["a", "é", "漢", "🙂"]


def test_half_a_character_at_the_end_is_replaced() -> None:
    assert scripted("🙂", max_tokens=2).text == "�"


def test_the_same_seed_gives_the_same_text_and_another_one_another() -> None:
    texts = [reply("ab", temperature=1.5, seed=seed, max_tokens=12).text for seed in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]
    made = reply("ab", temperature=1.5, max_tokens=12)
    assert reply("ab", temperature=1.5, seed=made.seed, max_tokens=12).text == made.text


def test_counts_and_times_add_up() -> None:
    made = reply("abc", max_tokens=5)
    assert made.text
    usage = made.usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.generated_tokens) == (4, 0, 5)
    assert 0 < usage.prefill_seconds <= usage.time_to_first_token
    assert usage.prefill_tps > 0
    assert usage.decode_tps > 0
    assert usage.prompt_tokens + usage.generated_tokens == made.context_used == 9


def test_only_tokens_that_were_computed_count_as_computed() -> None:
    model = scripted_model(context=400, batch=32)
    made = reply([1, *range(3, 103)], model=model)
    assert model.engine.step()
    made.cancel()
    assert made.text == ""
    assert (made.usage.prompt_tokens, made.usage.computed_tokens) == (101, 32)
    again = reply([1, *range(3, 103)], model=model, max_tokens=1)
    assert again.text is not None
    assert again.usage.cached_tokens + again.usage.computed_tokens == 101
    assert again.usage.cached_tokens == 32


def test_a_second_prompt_computes_only_what_is_new() -> None:
    model = scripted_model()
    first = reply("abcdefghij", model=model, max_tokens=6)
    assert first.text
    again = reply([*model.tokenizer.encode("abcdefghij"), *first.tokens, 70, 71], model=model, max_tokens=2)
    assert again.text
    assert again.usage.cached_tokens == 16  # the last token was never computed


class TestAFullContext:
    def test_stop_ends_the_reply_and_tells(self) -> None:
        made = scripted("y" * 100, overflow="stop")
        assert made.text == "y" * 38
        assert (made.finish_reason, made.context_used) == ("context", 40)

    def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(self) -> None:
        for overflow in ("stop", "error"):
            with pytest.raises(ContextOverflowError, match=r"\b40 .*\b40\b"):
                reply([5] * 40, overflow=overflow)

    def test_error_raises_in_the_reply(self) -> None:
        made = scripted("y" * 100, overflow="error")
        pieces = []
        with pytest.raises(ContextOverflowError, match="40"):
            for piece in made:
                pieces.append(piece)
        assert "".join(pieces) == "y" * 38

    def test_shift_drops_the_oldest_tokens_and_goes_on(self) -> None:
        made = reply("abc", overflow="shift", max_tokens=60)
        assert made.text
        assert (made.finish_reason, len(made.tokens)) == ("length", 60)
        assert made.usage.dropped_tokens > 0

    def test_shift_keeps_the_end_of_a_prompt_that_is_too_long(self) -> None:
        model = scripted_model(context=40)
        made = reply([1, *range(100, 160)], model=model, overflow="shift", max_tokens=1)
        assert made.text is not None
        assert made.usage.dropped_tokens >= 21
        kept = [1, *range(160 - made.usage.prompt_tokens + 1, 160)]
        assert made.tokens == [int(np.argmax(model.logits(kept)[-1]))]


class TestStopping:
    def test_cancel_ends_the_reply_and_leaves_the_model_usable(self) -> None:
        model = scripted_model("abcdef", "next")
        made = reply("x", model=model)
        assert next(made) == "a"
        made.cancel()
        list(made)
        assert made.finish_reason == "cancelled"
        assert reply("y", model=model).text == "next"

    def test_from_another_thread(self) -> None:
        made = scripted("a" * 30)
        for count, _ in enumerate(made):
            if count == 3:
                thread = threading.Thread(target=made.cancel)
                thread.start()
                thread.join()
        assert made.finish_reason == "cancelled"
        assert made.text[:4] == "aaaa"
        assert len(made.text) < 30

    def test_after_the_end_it_does_nothing(self) -> None:
        made = scripted("ab")
        assert made.text == "ab"
        made.cancel()
        assert made.finish_reason == "end"

    def test_before_the_beginning_nothing_is_computed_and_later_replies_are_whole(self) -> None:
        model = scripted_model("lost", "whole")
        made = reply("ab", model=model)
        made.cancel()
        assert (list(made), made.finish_reason) == ([], "cancelled")
        assert made.usage.computed_tokens == 0
        assert reply("ab", model=model).text == "whole"

    def test_close_keeps_what_was_read(self) -> None:
        made = scripted("abcdef")
        assert next(made) + next(made) == "ab"
        made.close()
        assert (list(made), made.text, made.finish_reason) == ([], "ab", "cancelled")

    def test_the_end_of_a_with_block_closes_it(self) -> None:
        model = scripted_model("abcdef")
        with reply("x", model=model) as made:
            next(made)
        assert made.finish_reason == "cancelled"
        model.engine.step()
        assert model.engine.stats().running == 0

    def test_a_reply_that_nobody_refers_to_is_closed(self) -> None:
        model = scripted_model("abcdef")
        made = reply("x", model=model)
        next(made)
        del made
        gc.collect()
        model.engine.step()
        assert (model.engine.stats().running, model.engine.stats().waiting) == (0, 0)

    def test_closing_the_model_ends_its_replies(self) -> None:
        with scripted_model("abcdef") as model:
            made = reply("x", model=model)
            next(made)
        list(made)
        assert made.finish_reason == "cancelled"
        with pytest.raises(ZigAIError, match="is closed: load it again"):
            reply("x", model=model)


def test_replies_of_several_threads_are_what_each_is_alone() -> None:
    prompts = ["ab", "hello", "x" * 20, "?"]
    alone = [reply(prompt, max_tokens=15).text for prompt in prompts]
    model = scripted_model(context=40)
    texts = [""] * len(prompts)

    def run(index: int) -> None:
        texts[index] = reply(prompts[index], model=model, max_tokens=15).text

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == alone


def test_replies_may_be_read_in_turns() -> None:
    alone = [reply(prompt, max_tokens=12).text for prompt in ("ab", "hello")]
    model = scripted_model(context=40)
    replies = [reply(prompt, model=model, max_tokens=12) for prompt in ("ab", "hello")]
    texts = ["", ""]
    for _ in range(12):
        for index, made in enumerate(replies):
            texts[index] += next(made, "")
    assert [text + made.text[len(text) :] for text, made in zip(texts, replies, strict=True)] == alone


def test_logprobs_are_the_models_own() -> None:
    model = scripted_model("hi")
    made = model.generate("x", logprobs=3)
    assert made.text == "hi"
    logits = model.logits(model.tokenizer.encode("x"))[-1].astype(np.float64)
    expected = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
    first = made.logprobs[0]
    assert (len(made.logprobs), first.token) == (len(made.tokens), made.tokens[0])
    np.testing.assert_allclose(first.logprob, expected[first.token], atol=1e-4)
    assert [one.token for one in first.best] == list(np.argsort(-expected, kind="stable")[:3])
    np.testing.assert_allclose([one.logprob for one in first.best], np.sort(expected)[::-1][:3], atol=1e-4)


def test_logprobs_include_the_tokens_of_a_stop_string() -> None:
    made = scripted("ab###", stop="##", logprobs=0)
    assert (made.text, "".join(one.text for one in made.logprobs)) == ("ab", "ab##")


def test_the_time_to_the_first_token_counts_from_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(model_module.time, "perf_counter", lambda: now[0])
    model = scripted_model("one", "two", "three", context=96)
    encode = type(model.tokenizer).encode

    def slow(*given: Any, **keywords: Any) -> list[int]:
        now[0] += 5  # a long prompt
        return encode(*given, **keywords)

    monkeypatch.setattr(type(model.tokenizer), "encode", slow)
    replies = [
        model.generate("x"),
        *model.replies("x", 1),
        model.chat(template=ChatTemplate("{{ messages[0].content }}")).send("x"),
    ]
    for made in replies:
        called = now[0]
        assert made.text
        assert made.usage.time_to_first_token >= 5
        assert now[0] == called


def test_logprobs_have_texts() -> None:
    model = scripted_model("hé")
    made = model.generate("x", logprobs=512)
    assert made.text == "hé"
    assert [one.text for one in made.logprobs] == ["h", "\ufffd", "\ufffd"]
    assert b"".join(one.spelling for one in made.logprobs).decode() == made.text
    texts = {one.token: one.text for one in made.logprobs[0].best}
    assert (len(texts), texts[2], texts[ord("h") + 3]) == (512, "</s>", "h")
    assert model.chat(template=ChatTemplate("x")).send("x", logprobs=1, max_tokens=1).logprobs == []


def test_the_context_in_use_after_a_shift_is_what_is_held() -> None:
    made = reply("abc", overflow="shift", max_tokens=45)
    assert made.text
    usage = made.usage
    assert made.context_used == usage.prompt_tokens + 45 - usage.dropped_tokens < 40
    for most in range(35, 60):  # on both sides of a shift
        model = scripted_model(context=40)
        made = reply("abc", model=model, overflow="shift", max_tokens=99)
        while len(made.tokens) < most:
            next(made.stream)
        (held,) = model.engine._stepper.sequences.values()
        assert made.context_used == held.length
    long = reply([1, *range(100, 160)], overflow="shift", max_tokens=1)
    assert long.text is not None
    assert long.context_used == long.usage.prompt_tokens + 1 <= 40


def test_a_failed_reply_says_so() -> None:
    made = scripted("y" * 100, overflow="error")
    assert ", open: ''" in repr(made)
    with pytest.raises(ContextOverflowError):
        list(made)
    assert ", failed with ContextOverflowError (the context of 40 tokens is full" in repr(made)
    assert repr(made).endswith(": 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy'>")


def test_the_error_in_a_repr_is_a_line() -> None:
    model = scripted_model()
    made = reply("x", model=model)
    made.stream.channel.error = ValueError("first\nsecond\x1b[31m" + "long " * 100)
    assert "failed with ValueError (first" in repr(made)
    assert repr(made).isprintable()
    assert len(repr(made)) < 300


def test_using_a_model_in_a_signal_handler_while_its_engine_is_made_does_not_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = scripted_model()
    inner: list[str] = []
    new_engine = model_module.Engine

    def interrupted(*given: Any, **keywords: Any) -> Any:
        if not inner:
            inner.append("")
            inner[0] = model.generate("x", temperature=0, max_tokens=3).text
        return new_engine(*given, **keywords)

    monkeypatch.setattr(model_module, "Engine", interrupted)
    engine = model.engine
    assert engine is model.engine
    assert model.generate("x", temperature=0, max_tokens=3).text == inner[0]
    assert engine.stats().submitted == 2


def test_text_begins_with_a_space_only_where_decode_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = scripted_model(" a b", " a b", " a b")
    decode = model.tokenizer.decode
    monkeypatch.setattr(model.tokenizer, "decode", lambda tokens: decode(tokens).removeprefix(" "))
    for prompt, text in (([1], "a b"), ("x", " a b")):
        made = model.generate(prompt)
        assert made.text == text
        head = model.tokenizer.decode(made.prompt)
        assert head + text == model.tokenizer.decode([*made.prompt, *made.tokens])
    chat = model.chat(template=ChatTemplate("{{ messages[-1].content }}"))
    assert chat.send("x").text == "a b"
