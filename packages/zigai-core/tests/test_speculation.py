"""Whatever is guessed, a reply is what it would have been; right guesses save steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zigai_core.api.model import Model
from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.engine.generation import Generation
from zigai_core.engine.runner import Runner
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.session import Session
from zigai_core.engine.speculation import Drafter, NgramDrafter, Pace
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_decoder

DESCRIPTOR = toy_decoder(layers=1)
TOKENIZER = ByteTokenizer(DESCRIPTOR.tokenizer)
PROGRAM = NumpyBackend().compile(
    decoder(DESCRIPTOR, context=64, pairing="adjacent"),
    DESCRIPTOR.tensors,
    CompileOptions(context=60, batch=16, page=8),
)
PROMPT = TOKENIZER.encode("abcabcabc")


class Told:
    """Guesses from a given reply, and wrongly at every `wrong`th token."""

    def __init__(self, reply: Sequence[int], wrong: int = 0) -> None:
        self.reply = list(reply)
        self.wrong = wrong

    def guess(self, tokens: Sequence[int], count: int) -> list[int]:
        at = len(tokens) - len(PROMPT)
        return [
            token + 1 if self.wrong and (at + i) % self.wrong == 0 else token
            for i, token in enumerate(self.reply[at : at + count])
        ]


class CountingSession(Session):
    """Counts the steps, and says what was asked of it."""

    steps = 0

    def _evaluate(self, *, want_all: bool) -> dict[str, object]:
        self.steps += 1
        return super()._evaluate(want_all=want_all)


def reply(drafter: Drafter | None, options: SamplingOptions, **keywords: object) -> Generation:
    keywords = {"max_tokens": 24, **keywords}
    session = CountingSession(Runner(PROGRAM))
    made = Generation(session, PROMPT, TOKENIZER, Sampler(options), drafter=drafter, **keywords)
    made.complete()
    assert made.session.tokens[: len(PROMPT)] == tuple(PROMPT) or made.stats.dropped_tokens
    return made


TEMPLATES = Plugins(chat_templates={"plain": "{{ messages[-1].content }}"})
OPTIONS = [SamplingOptions.greedy(), *(SamplingOptions(temperature=1.2, seed=seed) for seed in (1, 2))]


@pytest.mark.parametrize("options", OPTIONS, ids=["greedy", "seed 1", "seed 2"])
@pytest.mark.parametrize("wrong", [0, 1, 2, 3, 5])
def test_guesses_right_and_wrong_leave_the_reply_as_it_is(options: SamplingOptions, wrong: int) -> None:
    plain = reply(None, options)
    guessed = reply(Told(plain.tokens, wrong), options)
    assert (guessed.tokens, guessed.text, guessed.finish_reason) == (
        *(plain.tokens, plain.text, plain.finish_reason),
    )
    assert guessed.session.tokens == plain.session.tokens
    assert guessed.stats.accepted_tokens <= guessed.stats.guessed_tokens
    if wrong == 0:
        assert guessed.stats.accepted_tokens == guessed.stats.guessed_tokens >= 16
        assert guessed.session.steps < plain.session.steps / 2
    if wrong == 1:
        assert guessed.stats.accepted_tokens == 0


@pytest.mark.parametrize("options", OPTIONS, ids=["greedy", "seed 1", "seed 2"])
def test_ngrams_leave_the_reply_as_it_is(options: SamplingOptions) -> None:
    assert reply(NgramDrafter(), options).tokens == reply(None, options).tokens


def test_a_reply_that_repeats_itself_takes_fewer_steps() -> None:
    # Greedy toys fall into a loop; an n-gram sees it after one time round.
    plain = reply(None, SamplingOptions.greedy(), max_tokens=48)
    guessed = reply(NgramDrafter(shortest=1), SamplingOptions.greedy(), max_tokens=48)
    assert guessed.tokens == plain.tokens
    assert guessed.stats.accepted_tokens > 0
    assert guessed.session.steps < plain.session.steps


def test_the_context_and_the_limit_are_kept() -> None:
    plain = reply(None, SamplingOptions.greedy(), max_tokens=None, overflow="stop")
    guessed = reply(Told(plain.tokens), SamplingOptions.greedy(), max_tokens=None, overflow="stop")
    assert guessed.finish_reason == plain.finish_reason == "context"
    assert guessed.tokens == plain.tokens
    few = reply(Told(plain.tokens), SamplingOptions.greedy(), max_tokens=3)
    assert (few.tokens, few.session.length) == (plain.tokens[:3], len(PROMPT) + 3)


def test_a_context_that_shifts_goes_on() -> None:
    plain = reply(None, SamplingOptions.greedy(), max_tokens=80, overflow="shift")
    guessed = reply(NgramDrafter(shortest=1), SamplingOptions.greedy(), max_tokens=80, overflow="shift")
    assert guessed.tokens == plain.tokens


def test_a_reply_that_is_left_leaves_no_guesses_in_the_session() -> None:
    plain = reply(None, SamplingOptions.greedy())
    session = Session(Runner(PROGRAM))
    sampler = Sampler(SamplingOptions.greedy())
    left = Generation(session, PROMPT, TOKENIZER, sampler, drafter=Told(plain.tokens))
    for _ in range(3):
        next(left)
    left.close()
    assert session.tokens == (*PROMPT, *left.tokens)
    assert left.tokens == plain.tokens[: len(left.tokens)]


def test_a_model_of_the_same_weights_guesses_right() -> None:
    model = Model(DESCRIPTOR, PROGRAM, TOKENIZER, backend="numpy", choice="", plugins=Plugins())
    drafter = model.drafter(None, model)
    plain = reply(None, SamplingOptions.greedy())
    guessed = reply(drafter, SamplingOptions.greedy())
    assert guessed.tokens == plain.tokens
    assert guessed.stats.accepted_tokens == guessed.stats.guessed_tokens > 12


def test_a_model_looks_up_the_tokens_that_end_a_repeat() -> None:
    model = Model(DESCRIPTOR, PROGRAM, TOKENIZER, backend="numpy", choice="", plugins=Plugins())
    breakers = model.sampler(SamplingOptions(dry_multiplier=1)).options.dry_breaker_tokens
    spelled = {token: TOKENIZER.decode_bytes([token]) for token in range(512)}
    assert breakers == {token for token, text in spelled.items() if set(text) & set(b'\n:"*')}
    assert breakers >= {byte + 3 for byte in b'\n:"*'}
    given = SamplingOptions(dry_multiplier=1, dry_breaker_tokens=frozenset([5]))
    assert model.sampler(given).options.dry_breaker_tokens == {5}
    assert model.sampler().options.dry_breaker_tokens is None


@pytest.mark.parametrize(
    "options",
    [SamplingOptions.greedy(), SamplingOptions(top_k=0, top_p=1, min_p=0, temperature=3, seed=1)],
    ids=["greedy", "flat"],
)
@pytest.mark.parametrize("drafts", [False, True])
def test_rows_of_logits_without_a_token_are_never_drawn_nor_guessed(
    options: SamplingOptions, drafts: bool
) -> None:
    spec = dataclasses.replace(DESCRIPTOR.tokenizer, tokens=DESCRIPTOR.tokenizer.tokens[:270])
    few = Model(DESCRIPTOR, PROGRAM, ByteTokenizer(spec), backend="numpy", choice="", plugins=Plugins())
    assert few.logits(PROMPT).shape == (len(PROMPT), 512)
    session = few.new_session()
    session.extend(PROMPT)
    assert session.logits().argmax() >= 270, "the likeliest row of this toy must have no token"
    drafter = few.drafter(None, few if drafts else None)
    if drafter is not None:
        assert max(drafter.guess(PROMPT, 8)) < 270
    for seed in range(10):
        made = few.generate(
            PROMPT,
            sampling=dataclasses.replace(options, seed=seed),
            max_tokens=20,
            draft=few if drafts else None,
        )
        made.complete()
        assert max(made.tokens, default=0) < 270
        assert made.finish_reason in ("length", "end")


def test_a_model_of_another_vocabulary_is_refused() -> None:
    spec = dataclasses.replace(DESCRIPTOR.tokenizer, tokens=["other", *DESCRIPTOR.tokenizer.tokens[1:]])
    other = dataclasses.replace(DESCRIPTOR, name="other", tokenizer=spec)
    model, stranger = (
        Model(each, PROGRAM, TOKENIZER, backend="numpy", choice="", plugins=TEMPLATES)
        for each in (DESCRIPTOR, other)
    )
    with pytest.raises(UnsupportedError, match="other cannot be the draft model of toy-llama: their vocab"):
        model.drafter(None, stranger)
    with pytest.raises(UnsupportedError, match="take one"):
        model.generate("a", speculate="ngram", draft=model)
    with pytest.raises(UnsupportedError, match="there are 'ngram' and None"):
        model.chat(template="plain", speculate="ngrams")  # type: ignore[arg-type]


def test_the_latest_place_of_the_longest_ending_counts() -> None:
    drafter = NgramDrafter(longest=2, shortest=1)
    assert drafter.guess([1, 2, 3, 9, 2, 4, 1, 2], 2) == [3, 9]
    assert drafter.guess([1, 2, 3, 9, 2, 4, 1, 2, 5, 2], 3) == [5, 2]
    assert drafter.guess([7, 8], 4) == []


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), max_size=8), st.integers(0, 5))
def test_what_is_learnt_bit_by_bit_is_what_is_learnt_at_once(parts: list[list[int]], count: int) -> None:
    drafter = NgramDrafter()
    tokens: list[int] = []
    for part in parts:
        tokens += part
        assert drafter.guess(tokens, count) == NgramDrafter().guess(tokens, count)


def test_the_pace_follows_how_well_it_goes() -> None:
    pace = Pace(most=8)
    assert pace.next() == 4
    pace.tell(4, 4)
    assert pace.next() == 8
    for expected in (4, 2, 1):
        pace.tell(8, 0)
        assert pace.next() == expected
    rests = []
    for _ in range(3):
        pace.tell(1, 0)
        rest = 0
        while not pace.next():
            rest += 1
        rests.append(rest)
    assert rests == [4, 8, 16]
    pace.tell(1, 1)
    assert pace.next() == 2
