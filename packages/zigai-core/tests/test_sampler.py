from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from zigai_core.api.registry import Registry
from zigai_core.contracts.errors import PluginError, SamplingError, UnsupportedError, ZigAIError
from zigai_core.contracts.options import DEFAULT_STEPS, SamplingOptions
from zigai_core.engine.sampling import (
    BUILT_IN,
    Logits,
    Sampler,
    logit_bias,
    min_p,
    penalties,
    temperature,
    top_k,
    top_p,
)

OFF = SamplingOptions(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1)
INF = math.inf


def logits_of(*values: float) -> Logits:
    return np.array(values, np.float32)


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(weights / weights.sum())


def apply(factory: Any, options: SamplingOptions, logits: Logits, history: Sequence[int] = ()) -> list[float]:
    step = factory(options)
    return [float(value) for value in (logits if step is None else step(logits, history))]


def kept(factory: Any, options: SamplingOptions, logits: Logits) -> list[int]:
    """The ids a filter keeps; the logits of those must stay as they were."""
    result = np.array(apply(factory, options, logits), np.float32)
    ids = np.flatnonzero(result > -INF)
    np.testing.assert_array_equal(result[ids], logits[ids])
    return [int(token) for token in ids]


any_logits = arrays(np.float32, st.integers(1, 60), elements=st.floats(-20, 20, width=16))


def test_the_defaults_are_the_fields_own() -> None:
    options = SamplingOptions()
    assert (options.temperature, options.top_k, options.top_p, options.min_p) == (0.8, 40, 0.95, 0.05)
    assert (options.repeat_penalty, options.frequency_penalty, options.presence_penalty) == (1.0, 0.0, 0.0)
    assert options.penalty_last_n == 64
    assert options.steps == ("logit_bias", "penalties", "top_k", "top_p", "min_p", "temperature")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", INF),
        ("temperature", "warm"),
        ("temperature", True),
        ("top_k", -1),
        ("top_k", 1.5),
        ("top_p", 1.01),
        ("top_p", -0.5),
        ("min_p", 2),
        ("min_p", math.nan),
        ("repeat_penalty", 0),
        ("repeat_penalty", -1),
        ("frequency_penalty", INF),
        ("presence_penalty", math.nan),
        ("penalty_last_n", -2),
        ("seed", -1),
        ("seed", 0.5),
        ("logit_bias", {-1: 0.0}),
        ("logit_bias", {"a": 0.0}),
        ("logit_bias", {3: math.nan}),
        ("logit_bias", {3: INF}),
        ("steps", "top_k"),
        ("steps", (3,)),
    ],
)
def test_an_option_out_of_range_is_an_error_with_its_name(name: str, value: Any) -> None:
    with pytest.raises(SamplingError, match=name) as caught:
        replace(OFF, **{name: value})
    assert isinstance(caught.value, ZigAIError)
    assert isinstance(caught.value, ValueError)


def test_logit_bias_is_added() -> None:
    options = replace(OFF, logit_bias={0: 1.5, 2: -INF})
    assert apply(logit_bias, options, logits_of(1, 2, 3)) == [2.5, 2, -INF]


def test_logit_bias_of_a_token_outside_the_vocabulary_is_an_error() -> None:
    with pytest.raises(SamplingError, match="token 3; the vocabulary has 3"):
        Sampler(replace(OFF, logit_bias={3: 1.0})).sample(logits_of(1, 2, 3), [])


def test_penalties_by_hand() -> None:
    options = replace(OFF, repeat_penalty=2.0, frequency_penalty=0.5, presence_penalty=0.25)
    assert apply(penalties, options, logits_of(4, -4, 1, 0), [0, 1, 1, 3]) == [
        4 / 2 - 0.5 - 0.25,
        -4 * 2 - 2 * 0.5 - 0.25,
        1,
        -0.5 - 0.25,
    ]


@pytest.mark.parametrize(
    ("last_n", "penalised"), [(1, [2]), (2, [1, 2]), (-1, [0, 1, 2]), (0, []), (9, [0, 1, 2])]
)
def test_penalties_look_at_the_last_n_tokens(last_n: int, penalised: list[int]) -> None:
    options = replace(OFF, presence_penalty=1.0, penalty_last_n=last_n)
    result = apply(penalties, options, logits_of(5, 5, 5, 5), [0, 1, 2])
    assert [token for token, value in enumerate(result) if value == 4] == penalised


@pytest.mark.parametrize("token", [-1, 4])
def test_a_history_outside_the_vocabulary_is_an_error(token: int) -> None:
    with pytest.raises(SamplingError, match=f"token {token}; the vocabulary has 4"):
        Sampler(replace(OFF, presence_penalty=1.0)).sample(logits_of(1, 2, 3, 4), [2, token])


@given(any_logits, st.integers(1, 70))
def test_top_k_keeps_the_k_greatest_and_of_equals_the_first(logits: Logits, k: int) -> None:
    by_rank = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    assert kept(top_k, replace(OFF, top_k=k), logits) == sorted(by_rank[:k])


@given(any_logits, st.floats(0, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits: Logits, p: float) -> None:
    probabilities = softmax(logits)
    result = kept(top_p, replace(OFF, top_p=p), logits)
    assert result
    assert probabilities[result].sum() >= p - 1e-9
    least = min(result, key=lambda token: (probabilities[token], -token))
    if len(result) > 1:
        assert probabilities[result].sum() - probabilities[least] < p + 1e-9
    for token in set(range(len(logits))) - set(result):
        assert (logits[token], -token) < (logits[least], -least)


@pytest.mark.parametrize("spread", [1.0, 8.0])
def test_top_p_of_a_large_vocabulary_equals_the_plain_definition(spread: float) -> None:
    logits = np.random.default_rng(5).normal(0, spread, 20_000).astype(np.float32)
    order = np.argsort(-logits, kind="stable")
    count = int(np.argmax(np.cumsum(softmax(logits)[order]) >= 0.9)) + 1
    assert (count > 1024) == (spread == 1.0)  # both the short way and the long one
    assert kept(top_p, replace(OFF, top_p=0.9), logits) == sorted(order[:count])


@given(any_logits, st.floats(0.001, 1))
def test_min_p_is_relative_to_the_greatest_probability(logits: Logits, p: float) -> None:
    result = kept(min_p, replace(OFF, min_p=p), logits)
    ratios = softmax(logits) / softmax(logits).max()
    assert int(np.argmax(logits)) in result
    assert all(ratios[token] >= p - 1e-5 for token in result)
    assert all(ratios[token] < p + 1e-5 for token in set(range(len(logits))) - set(result))


def test_temperature_divides() -> None:
    assert apply(temperature, replace(OFF, temperature=0.5), logits_of(1, -2)) == [2, -4]


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e-40, 1e-38])
def test_temperature_near_zero_is_greedy(value: float) -> None:
    assert Sampler(replace(OFF, temperature=value)).distribution(logits_of(1, 30, 29), []).tolist() == [
        0,
        1,
        0,
    ]


def test_each_step_is_off_at_its_neutral_value() -> None:
    assert [BUILT_IN[name](OFF) for name in DEFAULT_STEPS] == [None] * 6


def test_steps_follow_the_order_that_is_asked_for() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    options = replace(OFF, temperature=0.2, top_p=0.6)
    first = Sampler(replace(options, steps=("temperature", "top_p"))).distribution(logits, [])
    last = Sampler(replace(options, steps=("top_p", "temperature"))).distribution(logits, [])
    assert np.flatnonzero(first).tolist() == [0]
    assert np.flatnonzero(last).tolist() == [0, 1]


def test_greedy_takes_the_greatest_and_of_equals_the_first() -> None:
    sampler = Sampler(SamplingOptions.greedy())
    assert sampler.sample(logits_of(1, 3, 3, 2), []) == 1
    assert Sampler(SamplingOptions(temperature=0)).sample(logits_of(1, 3, 3, 2), []) == 1


def test_greedy_comes_after_bias_and_penalties() -> None:
    options = replace(SamplingOptions.greedy(), logit_bias={0: -5.0}, repeat_penalty=2.0)
    assert Sampler(options).sample(logits_of(9, 8, 5), [1]) == 2


def test_the_same_seed_gives_the_same_draws() -> None:
    logits = np.random.default_rng(0).normal(0, 1, 100).astype(np.float32)
    draws = [[sampler.sample(logits, []) for _ in range(50)] for sampler in (Sampler(OFF), Sampler(OFF))]
    assert draws[0] == draws[1]
    assert draws[0] != [Sampler(replace(OFF, seed=2)).sample(logits, []) for _ in range(50)]


def test_a_fresh_seed_is_told_so_that_draws_can_be_repeated() -> None:
    logits = np.zeros(1000, np.float32)
    fresh, other = Sampler(replace(OFF, seed=None)), Sampler(replace(OFF, seed=None))
    assert fresh.seed != other.seed
    repeated = Sampler(replace(OFF, seed=fresh.seed))
    assert [fresh.sample(logits, []) for _ in range(9)] == [repeated.sample(logits, []) for _ in range(9)]


def test_draws_follow_the_distribution() -> None:
    logits = np.random.default_rng(3).normal(0, 2, 50).astype(np.float32)
    sampler = Sampler(SamplingOptions(temperature=1.3, top_k=12, top_p=0.98, min_p=0.01, seed=11))
    probabilities = sampler.distribution(logits, [])
    allowed = np.flatnonzero(probabilities)
    count = 20_000
    drawn = np.bincount([sampler.sample(logits, []) for _ in range(count)], minlength=50)
    assert drawn.sum() == drawn[allowed].sum() == count
    expected = probabilities[allowed] * count
    chi_square = float(((drawn[allowed] - expected) ** 2 / expected).sum())
    assert 6 < len(allowed) <= 12
    assert chi_square < 31.3  # 0.1 % of fair samplers are beyond it, with 11 degrees of freedom


def test_the_distribution_is_that_of_the_plain_definitions() -> None:
    logits = np.random.default_rng(4).normal(0, 3, 200).astype(np.float32)
    expected: NDArray[Any] = np.where(np.argsort(np.argsort(-logits)) < 20, logits, -INF)
    order = np.argsort(-expected)
    count = int(np.argmax(np.cumsum(softmax(expected)[order]) >= 0.9)) + 1
    expected[order[count:]] = -INF
    expected[softmax(expected) < 0.1 * softmax(expected).max()] = -INF
    options = SamplingOptions(temperature=0.7, top_k=20, top_p=0.9, min_p=0.1)
    distribution = Sampler(options).distribution(logits, [])
    assert distribution.dtype == np.float32
    assert distribution.tolist() == pytest.approx(softmax(expected / 0.7).tolist(), rel=1e-5)


def test_a_distribution_takes_no_random_number() -> None:
    logits = np.zeros(1000, np.float32)
    plain, looked = Sampler(OFF), Sampler(OFF)
    looked.distribution(logits, [])
    assert plain.sample(logits, []) == looked.sample(logits, [])


@pytest.mark.parametrize("options", [OFF, SamplingOptions.greedy(), SamplingOptions(logit_bias={0: 1.0})])
def test_the_callers_logits_stay_as_they_are(options: SamplingOptions) -> None:
    def scribble(options: SamplingOptions) -> Any:
        def step(logits: Logits, history: Sequence[int]) -> Logits:
            logits[:] = 0
            return logits

        return step

    logits = np.arange(100, dtype=np.float32)
    registry = Registry[Any]("zigai.samplers", {"scribble": scribble})
    sampler = Sampler(replace(options, steps=("scribble", *options.steps), repeat_penalty=1.5), registry)
    sampler.sample(logits, [1, 2])
    sampler.distribution(logits, [1, 2])
    assert logits.tolist() == list(range(100))


@pytest.mark.parametrize(
    ("logits", "what"),
    [
        (logits_of(-INF, -INF), "of the model rule every token out"),
        (logits_of(1, math.nan), "of the model hold nan"),
        (logits_of(1, INF), "of the model hold inf"),
        (logits_of(), r"must be of shape \[vocabulary\], not \(0,\)"),
        (np.zeros((1, 3), np.float32), r"not \(1, 3\)"),
    ],
)
@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions.greedy()])
def test_logits_that_no_token_can_be_drawn_from_are_an_error(
    options: SamplingOptions, logits: Logits, what: str
) -> None:
    with pytest.raises(SamplingError, match=what):
        Sampler(options).sample(logits, [])


def test_a_bias_that_rules_every_token_out_is_an_error_that_names_the_step() -> None:
    with pytest.raises(SamplingError, match="after the sampler step 'logit_bias' rule every token out"):
        Sampler(SamplingOptions(logit_bias={0: -INF, 1: -INF})).sample(logits_of(1, 2), [])


def test_a_token_ruled_out_is_never_drawn() -> None:
    sampler = Sampler(replace(OFF, logit_bias={1: -INF}))
    assert {sampler.sample(logits_of(0, 0, 0), []) for _ in range(100)} == {0, 2}


def test_a_step_of_a_plugin_joins_the_chain() -> None:
    def only_even(options: SamplingOptions) -> Any:
        return lambda logits, history: np.where(np.arange(len(logits)) % 2 == 0, logits, -np.inf)

    registry = Registry[Any]("zigai.samplers", {"only_even": only_even})
    sampler = Sampler(replace(OFF, steps=("only_even", "temperature")), registry)
    assert {sampler.sample(np.zeros(6, np.float32), []) for _ in range(100)} == {0, 2, 4}


def test_a_plugin_may_replace_a_built_in_step() -> None:
    registry = Registry[Any]("zigai.samplers", {"top_k": lambda options: None})
    sampler = Sampler(SamplingOptions(steps=("top_k",), top_k=1), registry)
    assert np.count_nonzero(sampler.distribution(np.zeros(3, np.float32), [])) == 3


@pytest.mark.parametrize("result", [None, np.zeros(2, np.float32)])
def test_a_step_that_gives_something_else_is_an_error_with_its_name(result: Any) -> None:
    registry = Registry[Any]("zigai.samplers", {"odd": lambda options: lambda logits, history: result})
    with pytest.raises(PluginError, match="'odd' must give logits of shape"):
        Sampler(replace(OFF, steps=("odd",)), registry).sample(logits_of(1, 2, 3), [])


def test_an_unknown_step_is_an_error_that_names_it() -> None:
    options = replace(OFF, steps=("mirostat",))
    with pytest.raises(
        UnsupportedError, match="no sampler step 'mirostat' is built in; there are logit_bias, "
    ):
        Sampler(options)
    with pytest.raises(UnsupportedError, match="serves the sampler step 'mirostat'; installed: none"):
        Sampler(options, Registry[Any]("zigai.samplers"))


def test_built_in_steps_need_no_entry_point() -> None:
    assert Sampler(SamplingOptions.greedy(), Registry[Any]("zigai.samplers")).sample(logits_of(1, 2), []) == 1
