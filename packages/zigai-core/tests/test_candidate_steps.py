"""The candidate stage: each step against a definition that sorts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from zigai_core.contracts.best import best
from zigai_core.contracts.errors import SamplingError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import SamplingOptions
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.sampling.candidates import TokenCandidates
from zigai_core.engine.sampling.mirostat import Mirostat

OFF = SamplingOptions(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1)
INF = math.inf
Ranked = list[tuple[int, float]]


def logits_of(*values: float) -> Array:
    return np.array(values, np.float32)


def weights(logits: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.exp(logits.astype(np.float64) - logits.max()))


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(weights(logits) / weights(logits).sum())


def kept(options: SamplingOptions, logits: Array) -> list[int]:
    """The ids of the remaining candidates."""
    return [int(token) for token in np.flatnonzero(Sampler(options).distribution(logits))]


any_logits = arrays(np.float32, st.integers(1, 60), elements=st.floats(-20, 20, width=16))


@given(any_logits, st.integers(1, 70))
def test_top_k_keeps_the_k_largest_and_of_equal_ones_the_first(logits: Array, k: int) -> None:
    by_rank = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    assert kept(replace(OFF, top_k=k), logits) == sorted(by_rank[:k])


@given(any_logits, st.floats(0, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits: Array, p: float) -> None:
    probabilities = softmax(logits)
    result = kept(replace(OFF, top_p=p), logits)
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
    assert (count > 1024) == (spread == 1.0)  # covers both the sorted and the selected case
    assert kept(replace(OFF, top_p=0.9), logits) == sorted(order[:count])


@given(any_logits, st.floats(0.001, 1))
def test_min_p_is_relative_to_the_largest_probability(logits: Array, p: float) -> None:
    result = kept(replace(OFF, min_p=p), logits)
    ratios = softmax(logits) / softmax(logits).max()
    assert int(np.argmax(logits)) in result
    assert all(ratios[token] >= p - 1e-5 for token in result)
    assert all(ratios[token] < p + 1e-5 for token in set(range(len(logits))) - set(result))


@pytest.mark.parametrize("k", [0, 4])
def test_min_p_of_1_keeps_all_tokens_that_are_equal_to_the_most_likely(k: int) -> None:
    assert kept(replace(OFF, top_k=k, min_p=1.0), logits_of(2, 1, 2, 0)) == [0, 2]


def test_temperature_divides_the_logits() -> None:
    distribution = Sampler(replace(OFF, temperature=0.5)).distribution(logits_of(1, -2))
    assert distribution.tolist() == pytest.approx(softmax(np.array([2, -4.0])).tolist(), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e-40, 1e-38])
def test_temperature_near_zero_is_greedy(value: float) -> None:
    assert Sampler(replace(OFF, temperature=value)).distribution(logits_of(1, 30, 29)).tolist() == [
        0,
        1,
        0,
    ]


def definition(options: SamplingOptions, logits: Array) -> Array:
    """The chain from top_k to temperature, without XTC, computed by sorting."""
    order = np.argsort(-logits, kind="stable")
    if options.top_k:
        order = order[: options.top_k]
    if options.typical_p < 1:
        p = softmax(logits[order])
        surprise = -np.log(np.maximum(p, 1e-300))
        distance = np.abs(surprise - (p * surprise).sum()).astype(np.float32)
        nearest = np.argsort(distance, kind="stable")
        cumulative = np.cumsum(weights(logits[order])[nearest])
        count = int(np.searchsorted(cumulative, options.typical_p * cumulative[-1], side="right")) + 1
        order = order[np.sort(nearest[:count])]
    if options.top_p < 1:
        cumulative = np.cumsum(weights(logits[order]))
        order = order[: int(np.searchsorted(cumulative, options.top_p * cumulative[-1])) + 1]
    if options.min_p > 0:
        order = order[logits[order] >= logits[order[0]] + np.float32(math.log(options.min_p))]
    left = logits[order].astype(np.float64)
    temperature = options.temperature
    if options.dynatemp_range:
        p = softmax(left)
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum()
        part = (entropy / math.log(len(p))) ** options.dynatemp_exponent if len(p) > 1 else 0
        low = max(0, temperature - options.dynatemp_range)
        temperature = low + (temperature + options.dynatemp_range - low) * part
    probabilities = np.zeros(len(logits), np.float32)
    if temperature < 1e-38:
        probabilities[order[0]] = 1
    else:
        probabilities[order] = softmax((left - left[0]) / temperature)
    return probabilities


RNG = np.random.default_rng(8)
ROWS: dict[str, Array] = {
    "normal": RNG.normal(0, 3, 30_000),
    "narrow": RNG.normal(0, 0.01, 30_000),
    "peaked": np.where(np.arange(30_000) == 77, 25, RNG.normal(0, 3, 30_000)),
    "one": np.where(np.arange(30_000) == 5, 1e4, 0),
    "equal": np.full(30_000, -3),
    "plateaus": RNG.choice([0, 0.5, 3], 30_000),
    "few": RNG.normal(0, 2, 30),
    "single": np.ones(1),
}
ROWS = {name: row.astype(np.float32) for name, row in ROWS.items()}
CHAINS = {
    "default": SamplingOptions(),
    "no top-k": SamplingOptions(top_k=0),
    "top-k of thousands": SamplingOptions(top_k=5000, top_p=0.9),
    "top-k beyond the row": SamplingOptions(top_k=10**9),
    "top-p alone": replace(OFF, top_p=0.613),
    "min-p alone": replace(OFF, min_p=0.3),
    "typical alone": replace(OFF, typical_p=0.371),
    "typical and top-k": replace(OFF, typical_p=0.5, top_k=300),
    "all": SamplingOptions(top_k=0, typical_p=0.93, top_p=0.91, min_p=0.01, temperature=1.7),
    "dynamic temperature": SamplingOptions(top_k=0, dynatemp_range=0.5, dynatemp_exponent=1.3),
    "cold": SamplingOptions(temperature=1e-3, top_k=0),
    "greedy": SamplingOptions.greedy(),
    "nothing": OFF,
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("chain", CHAINS)
def test_a_chain_equals_its_definition_by_sorting(chain: str, row: str) -> None:
    logits, options = ROWS[row], CHAINS[chain]
    expected = definition(options, logits)
    distribution = Sampler(options).distribution(logits)
    assert np.flatnonzero(distribution).tolist() == np.flatnonzero(expected).tolist()
    np.testing.assert_allclose(distribution, expected, rtol=2e-4)


@given(any_logits, st.integers(0, 70), *[st.floats(0.01, 0.99)] * 3, st.floats(0.05, 5))
def test_any_chain_equals_its_definition_by_sorting(
    logits: Array, k: int, typical: float, top: float, least: float, temperature: float
) -> None:
    options = SamplingOptions(
        temperature=temperature, top_k=k, typical_p=typical, top_p=top, min_p=least / 10
    )
    expected = definition(options, logits)
    distribution = Sampler(options).distribution(logits)
    if np.flatnonzero(distribution).tolist() != np.flatnonzero(expected).tolist():
        # If p is reached exactly, sums in another order may differ by one token.
        near = replace(options, typical_p=typical * (1 + 1e-12), top_p=top * (1 - 1e-12))
        other = replace(options, typical_p=typical * (1 - 1e-12), top_p=top * (1 + 1e-12))
        assert np.any(definition(near, logits) != definition(other, logits))
        return
    np.testing.assert_allclose(distribution, expected, rtol=1e-3, atol=1e-30)


@pytest.mark.parametrize("k", [0, 5])
def test_xtc_keeps_only_the_least_likely_of_the_tokens_that_reach_the_threshold(k: int) -> None:
    logits = np.log(np.array([0.05, 0.3, 0.2, 0.2, 0.05, 0.2], np.float32))
    options = replace(OFF, top_k=k, xtc_probability=1.0, xtc_threshold=0.15)
    assert kept(options, logits) == ([0, 4, 5] if not k else [0, 5])
    assert kept(replace(options, xtc_threshold=0.25), logits) == kept(replace(OFF, top_k=k), logits)


def test_xtc_applies_with_its_probability() -> None:
    options = replace(OFF, xtc_probability=0.3, xtc_threshold=0.4)
    sampler = Sampler(options)
    applied = 0
    for _ in range(4000):
        applied += np.count_nonzero(sampler.distribution(logits_of(0, 0))) == 1
        sampler.accept(0)
    assert 1110 < applied < 1290  # 3.1 standard deviations in both directions


def test_xtc_above_a_half_is_off() -> None:
    assert kept(replace(OFF, xtc_probability=1.0, xtc_threshold=0.51), logits_of(9, 0)) == [0, 1]


def test_mirostat_2_truncates_by_surprise_and_adapts_to_the_accepted_token() -> None:
    options = replace(OFF, mirostat=2, mirostat_tau=1.05, mirostat_eta=0.5)
    logits = np.log(np.array([0.5, 0.25, 0.125, 0.125], np.float32))
    sampler = Sampler(options)
    assert np.flatnonzero(sampler.distribution(logits) > 0).tolist() == [0, 1]  # up to 2.1 bits
    sampler.accept(1)  # probabilities 2/3 and 1/3
    step = sampler._choices[-1][1]
    assert isinstance(step, Mirostat)
    assert step.state.most == pytest.approx(2.1 - 0.5 * (math.log2(3) - 1.05))
    assert np.flatnonzero(sampler.distribution(logits) > 0).tolist() == [0]


def test_mirostat_1_keeps_the_number_of_tokens_that_follows_from_zipfs_law() -> None:
    size, slope = 3000, 1.2
    logits = (-slope * np.log(np.arange(1, size + 1))).astype(np.float32)
    options = replace(OFF, mirostat=1, mirostat_tau=3.0)
    excess = slope - 1
    count = ((excess * 2**6.0) / (1 - size**-excess)) ** (1 / slope)
    assert abs(len(kept(options, logits)) - count) <= 1
    assert 8 < count < 60


@pytest.mark.parametrize("version", [1, 2])
def test_mirostat_keeps_the_mean_surprise_at_its_target(version: int) -> None:
    logits = np.random.default_rng(2).permutation(-1.1 * np.log(np.arange(1, 20_001))).astype(np.float32)
    sampler = Sampler(SamplingOptions(temperature=1.0, mirostat=version, mirostat_tau=4.0, seed=4))
    surprises = []
    for _ in range(300):
        distribution = sampler.distribution(logits)
        token = sampler.sample(logits)
        surprises.append(-math.log2(distribution[token]))
        sampler.accept(token)
    assert np.mean(surprises[100:]) == pytest.approx(4.0, abs=0.4)


def test_mirostat_replaces_the_truncating_steps() -> None:
    options = SamplingOptions(mirostat=2, mirostat_tau=100, top_k=1, top_p=0.1, min_p=1, typical_p=0.1)
    assert len(kept(options, np.zeros(50, np.float32))) == 50


def candidates(*values: float) -> TokenCandidates:
    return TokenCandidates(np.arange(len(values), dtype=np.int32), logits_of(*values), best, ranked=False)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: c.first(0), "at least 1 candidate must be kept"),
        (lambda c: c.keep(np.ones(2, np.bool_)), "selection from 3 candidates"),
        (lambda c: c.keep(np.ones(3, np.int64)), "must be bool"),
        (lambda c: c.with_logits(logits_of(1, 2)), "new logits of 3 candidates have the shape"),
        (lambda c: c.with_logits(logits_of(1, 2, math.nan)), "logit of a candidate is nan"),
        (lambda c: c.with_logits(logits_of(1, 2, INF)), "logit of a candidate is inf"),
    ],
)
def test_invalid_calls_on_candidates_are_errors(call: Callable[[TokenCandidates], Any], words: str) -> None:
    with pytest.raises(SamplingError, match=words):
        call(candidates(1, 2, 3))


def test_a_draw_takes_the_lowest_id_whose_cumulative_probability_exceeds_it() -> None:
    for made in (candidates(0, math.log(2), 0), candidates(0, math.log(2), 0).first(3)):
        assert [made.take(u) for u in (0, 0.24, 0.26, 0.74, 0.76, 1 - 2**-53)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("ranked", [False, True])
def test_the_last_draw_takes_a_token_with_a_weight_above_0_however_sums_are_rounded(ranked: bool) -> None:
    rng = np.random.default_rng(0)
    rounded_down = 0
    for _ in range(100):
        logits = np.append(rng.normal(0, 3, 40), -1000).astype(np.float32)
        rounded_down += int(np.cumsum(weights(logits))[-1] <= weights(logits).sum() * (1 - 2**-53))
        made = TokenCandidates(None, logits, best, ranked=False)
        assert (made.first(41) if ranked else made).take(1 - 2**-53) == 39
    assert rounded_down > 5


def test_draws_from_many_candidates_follow_their_probabilities() -> None:
    logits = np.random.default_rng(0).normal(0, 2, 30_000).astype(np.float32)
    made = TokenCandidates(np.arange(30_000, dtype=np.int32), logits, best, ranked=False)
    cumulative = np.cumsum(made.probabilities())
    for u in np.linspace(0, 1, 97, endpoint=False):
        assert abs(made.take(float(u)) - int(np.searchsorted(cumulative, u, side="right"))) <= 1
