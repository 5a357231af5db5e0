"""Draft tokens change no reply; right ones save steps."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zigai_core.api.model import Model
from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.options import SamplingOptions
from zigai_core.engine.drafters import ModelDrafter, NgramDrafter
from zigai_core.engine.request import DRAFT_PREFILL, MOST_DRAFT_TOKENS, Drafter, Request
from zigai_core.engine.stream import Stream
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.engine.scripted import scripted_model
from zigai_core.text.chat_template import ChatTemplate

CONTEXT = 60
PROMPT = scripted_model().tokenizer.encode("abcabcabc")
OPTIONS = [SamplingOptions.greedy(), *(SamplingOptions(temperature=1.2, seed=seed) for seed in (1, 2))]
NAMES = ["greedy", "seed 1", "seed 2"]


class Told:
    """Proposes a given reply, with another token at every `wrong`th place."""

    def __init__(self, reply: Sequence[int], wrong: int = 0) -> None:
        self.reply = list(reply)
        self.wrong = wrong

    def propose(self, tokens: Sequence[int], count: int) -> list[int]:
        at = len(tokens) - len(PROMPT)
        return [
            (token + 1) % 512 if self.wrong and (at + i) % self.wrong == 0 else token
            for i, token in enumerate(self.reply[at : at + count])
        ]


def reply(drafter: Drafter | None, options: SamplingOptions, **keywords: Any) -> tuple[Stream, Model]:
    model = scripted_model(context=CONTEXT, batch=16)
    sampler = model.sampler(options)
    request = Request(PROMPT, sampler=sampler, drafter=drafter, **({"max_tokens": 24} | keywords))
    return model.engine.submit(request).result(), model


@pytest.mark.parametrize("options", OPTIONS, ids=NAMES)
@pytest.mark.parametrize("wrong", [0, 1, 2, 3, 5])
def test_drafts_right_and_wrong_leave_the_reply_as_it_is(options: SamplingOptions, wrong: int) -> None:
    plain, alone = reply(None, options)
    drafted, model = reply(Told(plain.tokens, wrong), options)
    assert (drafted.tokens, drafted.finish_reason) == (plain.tokens, plain.finish_reason)
    assert drafted.usage.draft_accepted <= drafted.usage.draft_proposed
    if wrong == 0:
        assert drafted.usage.draft_accepted == drafted.usage.draft_proposed >= 16
        assert model.engine.stats().steps < alone.engine.stats().steps / 2
    if wrong == 1:
        assert drafted.usage.draft_accepted == 0


@pytest.mark.parametrize("options", OPTIONS, ids=NAMES)
def test_ngrams_leave_the_reply_as_it_is(options: SamplingOptions) -> None:
    assert reply(NgramDrafter(), options)[0].tokens == reply(None, options)[0].tokens


def test_a_reply_that_repeats_itself_takes_fewer_steps() -> None:
    # A greedy toy falls into a loop; an n-gram is found after the first round of it.
    plain, alone = reply(None, OPTIONS[0], max_tokens=48)
    drafted, model = reply(NgramDrafter(shortest=1), OPTIONS[0], max_tokens=48)
    assert drafted.tokens == plain.tokens
    assert drafted.usage.draft_accepted > 0
    assert model.engine.stats().steps < alone.engine.stats().steps


def test_the_context_and_the_limit_are_kept() -> None:
    plain, _ = reply(None, OPTIONS[0], max_tokens=None)
    drafted, _ = reply(Told(plain.tokens), OPTIONS[0], max_tokens=None)
    assert drafted.finish_reason == plain.finish_reason == "context"
    assert drafted.tokens == plain.tokens
    few, _ = reply(Told(plain.tokens), OPTIONS[0], max_tokens=3)
    assert few.tokens == plain.tokens[:3]


def test_a_context_that_shifts_goes_on() -> None:
    plain, _ = reply(None, OPTIONS[0], max_tokens=80, overflow="shift")
    drafted, _ = reply(NgramDrafter(shortest=1), OPTIONS[0], max_tokens=80, overflow="shift")
    assert drafted.tokens == plain.tokens


def test_closing_a_reply_with_drafts_pending_changes_no_other_reply() -> None:
    model = scripted_model(context=CONTEXT)
    expected = scripted_model(context=CONTEXT).generate("hello", temperature=0, max_tokens=12).text
    left = model.generate(PROMPT, temperature=0, speculate="ngram")
    for _ in range(3):
        next(left)
    running = model.generate("hello", temperature=0, max_tokens=12)
    first = next(running)
    left.close()
    assert running.text.startswith(first)
    assert running.text == expected
    model.engine.check()


def test_a_model_of_the_same_weights_proposes_the_greedy_reply() -> None:
    plain, _ = reply(None, OPTIONS[0])
    drafter = ModelDrafter(scripted_model(context=CONTEXT).program, 512)
    drafted, _ = reply(drafter, OPTIONS[0])
    assert drafted.tokens == plain.tokens
    assert drafted.usage.draft_accepted == drafted.usage.draft_proposed > 12


def test_a_draft_model_proposes_nothing_for_tokens_or_lengths_that_it_lacks() -> None:
    drafter = ModelDrafter(scripted_model(context=20).program, 512)
    assert len(drafter.propose([1, 5, 6], 4)) == 4
    assert drafter.propose([1, 512], 4) == []
    assert drafter.propose([1] * 19, 4) == []
    assert len(drafter.propose([1] * 17, 4)) == 2
    assert len(drafter.propose([1, 5, 7], 4)) == 4


def test_a_draft_model_knows_what_it_is_missing() -> None:
    drafter, tokens = ModelDrafter(scripted_model(context=60).program, 512), [1, *range(5, 45)]
    assert drafter.missing(tokens) == 40
    drafter.prefill(tokens, 30)
    assert drafter.missing(tokens) == 10
    drafts = drafter.propose(tokens, 4)
    assert drafts == ModelDrafter(scripted_model(context=60).program, 512).propose(tokens, 4)
    assert drafter.missing([*tokens, *drafts, 9]) == 1
    assert drafter.missing([*tokens, drafts[0], 3]) == 0
    assert drafter.missing([1, 6, *tokens[2:]]) == 39
    assert drafter.missing([*tokens, 512]) == drafter.missing([1] * 59) == 0


def counted_rows(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns a list: for each step of a model, the rows that draft models of its kind computed before it."""
    rows, own = [0], model.engine._stepper.executor
    kind: Any = type(own)
    run = kind.run

    def counted(executor: Any, batch: Any, stop: Any) -> Any:
        if executor is own:
            rows.append(0)
        else:
            rows[-1] += len(batch)
        return run(executor, batch, stop)

    monkeypatch.setattr(kind, "run", counted)
    return rows


def test_a_draft_model_reads_long_prompts_in_steps_that_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt, how = [1, *range(3, 203)], {"temperature": 0.8, "seed": 1, "max_tokens": 40}
    alone = [made.text for made in scripted_model(context=400).replies(prompt, 3, **how)]
    model = scripted_model(context=400)
    rows = counted_rows(model, monkeypatch)
    replies = model.replies(prompt, 3, draft=scripted_model(context=400), **how)  # computed in the same steps
    assert [made.text for made in replies] == alone
    assert all(made.usage.draft_proposed for made in replies)
    assert max(rows) <= DRAFT_PREFILL + len(replies) * 2 * MOST_DRAFT_TOKENS


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_the_prefill_of_a_draft_model_does_not_delay_an_end(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, draft = (scripted_model(context=400) for _ in range(2))
    rows = counted_rows(model, monkeypatch)
    made = model.generate([1, *range(3, 303)], temperature=0, draft=draft, deadline=1e6)
    next(made.stream)
    assert not sum(rows)
    next(made.stream)
    assert sum(rows) == DRAFT_PREFILL
    if how == "cancel":
        made.cancel()
    else:
        model.engine._stepper.clock = lambda: float("inf")
    assert made.text is not None
    assert made.finish_reason == {"cancel": "cancelled"}.get(how, how)
    assert sum(rows) == DRAFT_PREFILL
    assert len(made.tokens) == 2


def test_a_draft_model_has_an_executor_only_while_a_reply_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, draft = scripted_model(), scripted_model()
    made: list[weakref.ref[Any]] = []
    new_executor = type(draft.program).new_executor

    def counted(program: Any, sizes: Sequence[int]) -> Any:
        executor = new_executor(program, sizes)
        if program is draft.program:
            made.append(weakref.ref(executor))
        return executor

    monkeypatch.setattr(type(draft.program), "new_executor", counted)
    model.chat(template=ChatTemplate("{{ messages[0].content }}"), draft=draft)
    replies = [model.generate("ab", temperature=0, max_tokens=4, draft=draft) for _ in range(3)]
    assert not made
    assert all(len(reply.text) for reply in replies)
    gc.collect()
    assert [executor() for executor in made] == [None] * 3


def test_what_is_no_model_cannot_be_a_draft_model() -> None:
    for wrong in ("x", 5, [1]):
        with pytest.raises(UnsupportedError, match=r"draft must be a loaded model, not"):
            scripted_model().generate("x", draft=wrong)  # type: ignore[arg-type]


def test_drafters_are_chosen_by_name_or_model() -> None:
    model = scripted_model()
    text = model.generate("abcabc", temperature=0, max_tokens=9).text
    assert model.generate("abcabc", temperature=0, max_tokens=9, speculate="ngram").text == text
    assert model.generate("abcabc", temperature=0, max_tokens=9, draft=scripted_model()).text == text
    with pytest.raises(UnsupportedError, match="speculate must be 'ngram' or None"):
        model.generate("x", speculate="ngrams")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="give one of them"):
        model.generate("x", speculate="ngram", draft=scripted_model())


def test_the_tokens_that_end_a_repeat_are_looked_up() -> None:
    model = scripted_model()
    breakers = model.sampler(SamplingOptions(dry_multiplier=1)).options.dry_breaker_tokens
    spelled = {token: model.tokenizer.decode_bytes([token]) for token in range(512)}
    assert breakers == {token for token, text in spelled.items() if set(text) & set(b'\n:"*')}
    given = SamplingOptions(dry_multiplier=1, dry_breaker_tokens=frozenset([5]))
    assert model.sampler(given).options.dry_breaker_tokens == {5}
    assert model.sampler().options.dry_breaker_tokens is None


def ngrams_by_search(tokens: list[int], count: int) -> list[int]:
    for size in (4, 3, 2):
        for end in range(len(tokens) - 1, size - 1, -1):
            if len(tokens) > size and tokens[end - size : end] == tokens[-size:]:
                return tokens[end : end + count]
    return []


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=12))
def test_ngrams_propose_what_a_search_finds(pieces: list[list[int]]) -> None:
    drafter, tokens = NgramDrafter(), list[int]()
    for piece in pieces:
        tokens = [*tokens, *piece] if len(tokens) < 30 else piece
        assert drafter.propose(tokens, 5) == ngrams_by_search(tokens, 5)


@pytest.mark.parametrize("how", [{"temperature": 0}, {"top_k": 0, "top_p": 1, "min_p": 0, "temperature": 3}])
@pytest.mark.parametrize("drafts", [False, True])
def test_logits_without_a_token_are_never_drawn_nor_proposed(how: dict[str, Any], drafts: bool) -> None:
    few = other_vocabulary(tokens=270)
    assert few.logits(PROMPT).shape == (len(PROMPT), 512)
    assert few.logits(PROMPT)[-1].argmax() >= 270, "the most likely row of this toy must have no token"
    assert max(ModelDrafter(few.program, few.vocabulary).propose(PROMPT, 8)) < 270
    for seed in range(5):
        made = few.generate(PROMPT, seed=seed, max_tokens=20, draft=few if drafts else None, **how)
        assert made.text is not None
        assert max(made.tokens, default=0) < 270
        assert made.finish_reason in ("length", "end")


def test_a_draft_model_with_another_vocabulary_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="other cannot be the draft model of toy-llama: their vocab"):
        scripted_model().generate("x", draft=other_vocabulary(name="other", first="other"))


def test_the_latest_occurrence_of_the_longest_ngram_counts() -> None:
    assert NgramDrafter(longest=2, shortest=1).propose([1, 2, 3, 9, 2, 4, 1, 2], 2) == [3, 9]
    assert NgramDrafter(longest=2, shortest=1).propose([1, 2, 3, 9, 2, 4, 1, 2, 5, 2], 3) == [5, 2]
    assert NgramDrafter().propose([7, 8], 4) == []


def other_vocabulary(*, name: str = "toy-llama", tokens: int = 512, first: str | None = None) -> Model:
    model = scripted_model(context=CONTEXT, batch=16)
    spec = model.descriptor.tokenizer
    assert spec is not None
    names = list(spec.tokens[:tokens])
    names[0] = names[0] if first is None else first
    spec = replace(spec, tokens=names)
    descriptor = replace(model.descriptor, name=name, tokenizer=spec)
    tokenizer = ByteTokenizer(spec)
    return Model(descriptor, model.program, tokenizer, backend="numpy", choice="", plugins=Plugins())
