"""The sampler of a request: steps and their order, draws, rollback and forks, errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zigai_core.api.registry import Registry
from zigai_core.contracts.best import bitset
from zigai_core.contracts.errors import PluginError, SamplingError, UnsupportedError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import DEFAULT_STEPS, SamplingOptions
from zigai_core.contracts.sampling import Candidates, Draw, Row
from zigai_core.engine.sampling import BUILT_IN, Sampler

OFF = SamplingOptions(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1)
INF = math.inf


def logits_of(*values: float) -> Array:
    return np.array(values, np.float32)


def started(options: SamplingOptions, prompt: Sequence[int] = (), **keywords: Any) -> Sampler:
    sampler = Sampler(options, **keywords)
    sampler.start(prompt)
    return sampler


def sample(options: SamplingOptions, logits: Array, prompt: Sequence[int] = (), **keywords: Any) -> int:
    return started(options, prompt, **keywords).sample(logits)


def draws(sampler: Sampler, logits: Array, count: int) -> list[int]:
    """The tokens of a reply in which every step has these logits."""
    for _ in range(count):
        sampler.accept(sampler.sample(logits))
    return list(sampler.tokens)[-count:]


def test_each_step_is_off_at_its_neutral_value() -> None:
    assert [BUILT_IN[name](OFF) for name in DEFAULT_STEPS] == [None] * 11
    on = replace(
        SamplingOptions(logit_bias={0: 1.0}, repeat_penalty=1.1, dry_multiplier=1.0, top_n_sigma=1.0),
        typical_p=0.5,
        xtc_probability=0.5,
    )
    assert [BUILT_IN[name](on) is None for name in DEFAULT_STEPS] == [False] * 10 + [True]
    cuts = {"top_k", "typical_p", "top_p", "min_p", "xtc"}
    assert [name for name in DEFAULT_STEPS if BUILT_IN[name](replace(on, mirostat=2)) is None] == [
        name for name in DEFAULT_STEPS if name in cuts
    ]


def test_steps_run_in_the_given_order() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    options = replace(OFF, temperature=0.2, top_p=0.6)
    first = Sampler(replace(options, steps=("temperature", "top_p"))).distribution(logits)
    last = Sampler(replace(options, steps=("top_p", "temperature"))).distribution(logits)
    assert np.flatnonzero(first).tolist() == [0]
    assert np.flatnonzero(last).tolist() == [0, 1]


def test_a_row_step_after_a_candidate_step_is_refused_by_name() -> None:
    options = replace(OFF, steps=("top_k", "penalties"), top_k=5, presence_penalty=1.0)
    with pytest.raises(SamplingError, match="penalties edits the whole row, so it must come before top_k"):
        Sampler(options)


def test_greedy_takes_the_largest_logit_and_of_equal_ones_the_first() -> None:
    assert sample(SamplingOptions.greedy(), logits_of(1, 3, 3, 2)) == 1
    assert sample(SamplingOptions(temperature=0), logits_of(1, 3, 3, 2)) == 1


def test_greedy_comes_after_bias_and_penalties() -> None:
    options = replace(SamplingOptions.greedy(), logit_bias={0: -5.0}, repeat_penalty=2.0)
    assert sample(options, logits_of(9, 8, 5), [1]) == 2


def test_accepted_tokens_are_penalised() -> None:
    sampler = Sampler(replace(SamplingOptions.greedy(), presence_penalty=1.5))
    assert draws(sampler, logits_of(3, 2, 1), 4) == [0, 1, 0, 0]


def test_the_same_seed_gives_the_same_draws() -> None:
    logits = np.random.default_rng(0).normal(0, 1, 100).astype(np.float32)
    first = draws(Sampler(OFF), logits, 50)
    assert first == draws(Sampler(OFF), logits, 50)
    assert first != draws(Sampler(replace(OFF, seed=2)), logits, 50)


def test_a_random_seed_is_available_to_repeat_draws() -> None:
    logits = np.zeros(1000, np.float32)
    first, other = Sampler(replace(OFF, seed=None)), Sampler(replace(OFF, seed=None))
    assert first.seed != other.seed
    assert draws(first, logits, 9) == draws(Sampler(replace(OFF, seed=first.seed)), logits, 9)


def test_a_draw_is_the_same_until_it_is_accepted() -> None:
    logits = np.zeros(1000, np.float32)
    sampler = Sampler(OFF)
    token = sampler.sample(logits)
    sampler.distribution(logits)
    assert sampler.sample(logits) == token
    sampler.accept(token)
    assert sampler.sample(logits) != token


STATEFUL = SamplingOptions(top_k=0, top_p=1, min_p=0, seed=5, mirostat=2, mirostat_tau=3, repeat_penalty=1.3)
EVERYTHING = SamplingOptions(seed=5, xtc_probability=0.5, repeat_penalty=1.3, dry_multiplier=0.5, top_k=0)


@pytest.mark.parametrize("options", [OFF, STATEFUL, EVERYTHING])
def test_a_rollback_restores_the_sampler(options: SamplingOptions) -> None:
    rows = np.random.default_rng(1).normal(0, 2, (12, 300)).astype(np.float32)
    plain, other = started(options, [1, 2]), started(options, [1, 2])
    for index, row in enumerate(rows):
        token = plain.sample(row)
        plain.accept(token)
        for draft in (rows[index - 3 :: -2])[:3]:  # tokens that are drawn and then rolled back
            other.accept(other.sample(draft))
        other.rollback(other.index - index)
        assert other.sample(row) == token
        other.accept(token)
    assert other.tokens == plain.tokens
    with pytest.raises(ValueError, match="cannot roll back 13 of 12 tokens"):
        plain.rollback(13)


@pytest.mark.parametrize("options", [OFF, STATEFUL, EVERYTHING])
def test_a_fork_continues_as_the_sampler_would_and_does_not_affect_it(options: SamplingOptions) -> None:
    rows = np.random.default_rng(1).normal(0, 2, (12, 300)).astype(np.float32)
    straight = started(options, [1, 2])
    expected = [straight.accept(straight.sample(row)) or straight.tokens[-1] for row in rows]
    sampler = started(options, [1, 2])
    for row in rows[:6]:
        sampler.accept(sampler.sample(row))
    sampler.sample(rows[6])
    fork, other = sampler.fork(), sampler.fork()
    for row in rows[::-1]:
        other.accept(other.sample(row))
    other.rollback(other.index)
    for each in (fork, sampler):
        for row in rows[6:]:
            each.accept(each.sample(row))
        assert list(each.tokens[2:]) == expected


def test_start_forgets_the_previous_reply() -> None:
    rows = np.random.default_rng(1).normal(0, 2, (6, 300)).astype(np.float32)
    sampler = started(STATEFUL, [1, 2])
    replies = []
    for _ in range(2):
        for row in rows:
            sampler.accept(sampler.sample(row))
        replies.append(list(sampler.tokens))
        sampler.sample(rows[0])
        sampler.start([1, 2])
    assert replies[0] == replies[1]
    assert (list(sampler.tokens), sampler.index) == ([1, 2], 0)


def test_draws_follow_the_distribution() -> None:
    logits = np.random.default_rng(3).normal(0, 2, 50).astype(np.float32)
    sampler = Sampler(SamplingOptions(temperature=1.3, top_k=12, top_p=0.98, min_p=0.01, seed=11))
    probabilities = sampler.distribution(logits)
    allowed = np.flatnonzero(probabilities)
    count = 20_000
    drawn = np.bincount(draws(sampler, logits, count), minlength=50)
    assert drawn.sum() == drawn[allowed].sum() == count
    expected = probabilities[allowed] * count
    chi_square = float(((drawn[allowed] - expected) ** 2 / expected).sum())
    assert 6 < len(allowed) <= 12
    assert chi_square < 31.3  # 0.1 % of fair samplers exceed it, with 11 degrees of freedom


@pytest.mark.parametrize("options", [OFF, SamplingOptions.greedy(), SamplingOptions(logit_bias={0: 1.0})])
def test_the_callers_logits_are_not_changed(options: SamplingOptions) -> None:
    class Scribble:
        def edit(self, row: Row) -> None:
            row.logits()[:] = 0
            row.write(range(50), 0.0)

        def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
            raise AssertionError("not called: a row step is not a candidate step")

    logits = np.arange(100, dtype=np.float32)
    registry = Registry[Any]("zigai.samplers", {"scribble": lambda options: Scribble()})
    options = replace(options, steps=("scribble", *options.steps), repeat_penalty=1.5)
    sampler = started(options, [1, 2], samplers=registry)
    sampler.sample(logits)
    sampler.distribution(logits)
    assert logits.tolist() == list(range(100))


def test_the_logits_of_candidates_are_read_only() -> None:
    class Scribble:
        def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
            candidates.logits[:] = 0
            return candidates

    registry = Registry[Any]("zigai.samplers", {"scribble": lambda options: Scribble()})
    with pytest.raises(PluginError, match=r"'scribble' failed: ValueError: .*read-only"):
        Sampler(replace(OFF, steps=("scribble",)), registry).sample(logits_of(1, 2))


CHAINS = [SamplingOptions(), SamplingOptions.greedy(), OFF, replace(OFF, top_p=0.9), replace(OFF, min_p=0.5)]


@pytest.mark.parametrize("options", [*CHAINS, *(replace(o, logit_bias={0: 1.0, 1: -INF}) for o in CHAINS)])
@pytest.mark.parametrize("value", [math.nan, INF, -INF])
@pytest.mark.parametrize("at", [0, 1, 70])
def test_a_logit_of_the_model_that_is_not_finite_is_an_error_that_names_it(
    options: SamplingOptions, value: float, at: int
) -> None:
    logits = np.zeros(100, np.float32)
    logits[at] = value
    with pytest.raises(SamplingError, match=f"the model's logit of token {at} is {value}"):
        sample(options, logits)


def test_logits_beyond_the_vocabulary_may_be_damaged() -> None:
    logits = logits_of(1, 2, math.nan)
    assert sample(SamplingOptions.greedy(), logits, vocabulary=2) == 1


@pytest.mark.parametrize("logits", [logits_of(), np.zeros((1, 3), np.float32)])
def test_logits_of_another_shape_are_an_error(logits: Array) -> None:
    with pytest.raises(SamplingError, match=r"must be of shape \[vocabulary\], not "):
        sample(SamplingOptions(), logits)


@pytest.mark.parametrize("options", CHAINS)
def test_tokens_beyond_the_vocabulary_are_never_drawn(options: SamplingOptions) -> None:
    logits = np.array([*np.zeros(30), *np.full(20, 9)], np.float32)
    sampler = Sampler(options, vocabulary=30)
    assert max(draws(sampler, logits, 100)) < 30
    assert sampler.distribution(logits).shape == (50,)


@pytest.mark.parametrize("options", CHAINS)
def test_a_bias_that_rules_every_token_out_is_an_error_that_names_the_step(options: SamplingOptions) -> None:
    with pytest.raises(SamplingError, match="after the sampler steps logit_bias rule every token out"):
        sample(replace(options, logit_bias={0: -INF, 1: -INF}), logits_of(1, 2))


@pytest.mark.parametrize("options", CHAINS)
def test_a_mask_applies_before_every_step(options: SamplingOptions) -> None:
    logits = np.arange(100, dtype=np.float32)
    sampler = Sampler(replace(options, logit_bias={99: 50.0, 3: 200.0}))
    mask = bitset(np.arange(100) % 10 == 3)
    assert sampler.sample(logits, mask) == 3
    assert not sampler.distribution(logits, mask)[99]
    with pytest.raises(SamplingError, match="rule every token out"):
        sampler.sample(logits, bitset(np.zeros(100, np.bool_)))


def test_an_excluded_token_is_never_drawn() -> None:
    assert set(draws(Sampler(replace(OFF, logit_bias={1: -INF})), logits_of(0, 0, 0), 100)) == {0, 2}


def test_steps_of_plugins_run_in_the_chain() -> None:
    class OnlyEven:
        def edit(self, row: Row) -> None:
            row.keep(np.arange(row.vocabulary) % 2 == 0)

    class Coin:
        def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
            return (
                candidates.keep(candidates.ids < 4) if draw() < 0.5 else candidates.keep(candidates.ids >= 4)
            )

    registry = Registry[Any](
        "zigai.samplers", {"only_even": lambda options: OnlyEven(), "coin": lambda options: Coin()}
    )
    options = replace(OFF, steps=("only_even", "coin", "temperature"))
    sampler = Sampler(options, registry)
    drawn = draws(sampler, np.zeros(6, np.float32), 200)
    assert set(drawn) == {0, 2, 4}
    assert 60 < drawn.count(4) < 140


def test_a_plugin_may_replace_a_built_in_step() -> None:
    registry = Registry[Any]("zigai.samplers", {"top_k": lambda options: None})
    sampler = Sampler(SamplingOptions(steps=("top_k",), top_k=1), registry)
    assert np.count_nonzero(sampler.distribution(np.zeros(3, np.float32))) == 3


def test_a_step_of_neither_kind_is_an_error_with_its_name() -> None:
    registry = Registry[Any]("zigai.samplers", {"odd": lambda options: lambda logits, history: logits})
    with pytest.raises(PluginError, match=r"'odd' must have a method edit\(row\) or choose"):
        Sampler(replace(OFF, steps=("odd",)), registry)


@pytest.mark.parametrize(
    ("choose", "error", "words"),
    [
        (lambda candidates: None, PluginError, "'odd' must return candidates, but returned NoneType"),
        (lambda candidates: candidates.keep(candidates.ids > 9), SamplingError, "'odd' left none"),
    ],
)
def test_a_step_that_does_not_return_candidates_is_an_error_with_its_name(
    choose: Callable[[Candidates], Any], error: type[Exception], words: str
) -> None:
    class Odd:
        def choose(self, candidates: Candidates, draw: Draw) -> Any:
            return choose(candidates)

    registry = Registry[Any]("zigai.samplers", {"odd": lambda options: Odd()})
    with pytest.raises(error, match=words):
        Sampler(replace(OFF, steps=("odd",)), registry).sample(logits_of(1, 2, 3))


def test_an_unknown_step_is_an_error_that_names_it() -> None:
    options = replace(OFF, steps=("antistat",))
    with pytest.raises(
        UnsupportedError, match="no sampler step 'antistat' is built in; the built-in ones are logit_bias, "
    ):
        Sampler(options)
    with pytest.raises(UnsupportedError, match="serves the sampler step 'antistat'; installed: none"):
        Sampler(options, Registry[Any]("zigai.samplers"))


def test_built_in_steps_need_no_entry_point() -> None:
    sampler = Sampler(SamplingOptions.greedy(), Registry[Any]("zigai.samplers"))
    assert sampler.sample(logits_of(1, 2)) == 1


class Failing:
    def edit(self, row: Row) -> None:
        raise ValueError("two\nlines")


def test_a_step_that_fails_is_named() -> None:
    for factory in (lambda options: 1 / 0, lambda options: Failing()):
        with pytest.raises(PluginError, match=r"the sampler step 'boom' failed: (Zero|Value)"):
            sampler = Sampler(SamplingOptions(steps=("boom",)), Registry("zigai.samplers", {"boom": factory}))
            sampler.sample(np.zeros(4, np.float32))
