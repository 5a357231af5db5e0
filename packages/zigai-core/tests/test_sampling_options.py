"""Sampling options refuse invalid values, and every valid value gives a token without a warning."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import SamplingError, ZigAIError
from zigai_core.contracts.options import SamplingOptions
from zigai_core.engine.sampling import Sampler

INF = math.inf


def test_the_defaults_are_the_documented_ones() -> None:
    options = SamplingOptions()
    assert (options.temperature, options.top_k, options.top_p, options.min_p) == (0.8, 40, 0.95, 0.05)
    assert (options.repeat_penalty, options.frequency_penalty, options.presence_penalty) == (1.0, 0.0, 0.0)
    assert (options.penalty_last_n, options.dry_penalty_last_n) == (64, 64)
    assert (options.dry_multiplier, options.dry_base, options.dry_allowed_length) == (0.0, 1.75, 2)
    assert options.dry_sequence_breakers == ("\n", ":", '"', "*")
    assert (options.top_n_sigma, options.typical_p) == (-1.0, 1.0)
    assert (options.xtc_probability, options.xtc_threshold) == (0.0, 0.1)
    assert (options.dynatemp_range, options.dynatemp_exponent) == (0.0, 1.0)
    assert (options.mirostat, options.mirostat_tau, options.mirostat_eta) == (0, 5.0, 0.1)
    assert options.steps == (
        *("logit_bias", "penalties", "dry", "top_n_sigma"),
        *("top_k", "typical_p", "top_p", "min_p", "xtc", "temperature", "mirostat"),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", INF),
        ("temperature", "warm"),
        ("temperature", True),
        ("temperature", Fraction(10) ** 400),
        ("top_k", -1),
        ("top_k", 1.5),
        pytest.param("top_k", -(10**5000), id="digits"),
        ("top_p", 1.01),
        ("top_p", -0.5),
        ("min_p", 2),
        ("min_p", math.nan),
        ("typical_p", 1.5),
        ("xtc_probability", -0.1),
        ("xtc_threshold", 1.1),
        ("top_n_sigma", math.nan),
        ("dynatemp_range", -1),
        ("dynatemp_exponent", INF),
        ("mirostat", 3),
        ("mirostat", True),
        ("mirostat_tau", -1),
        ("mirostat_eta", "fast"),
        ("dry_multiplier", -1),
        ("dry_base", 0.5),
        ("dry_allowed_length", 0),
        ("dry_penalty_last_n", -2),
        ("dry_sequence_breakers", "\n"),
        ("dry_breaker_tokens", frozenset([-1])),
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
        ("logit_bias", {3: Fraction(10) ** 400}),
        ("steps", "top_k"),
        ("steps", (3,)),
    ],
)
def test_an_option_out_of_range_is_an_error_with_its_name(name: str, value: Any) -> None:
    with pytest.raises(SamplingError, match=name) as caught:
        SamplingOptions(**{name: value})
    assert isinstance(caught.value, ZigAIError)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 200


ALL_ON = SamplingOptions(
    typical_p=0.9,
    repeat_penalty=1.1,
    frequency_penalty=0.1,
    presence_penalty=0.1,
    logit_bias={0: 0.5},
    dry_multiplier=0.8,
    top_n_sigma=3.0,
    xtc_probability=0.5,
    dynatemp_range=0.3,
    seed=1,
)
EXTREMES: dict[str, list[Any]] = {
    "temperature": [1e308, 1e-308, 5e-324, 0],
    "dynatemp_range": [1e308, 5e-324],
    "dynatemp_exponent": [1e308, 5e-324, 0],
    "top_k": [0, 1, 10**30],
    "top_p": [0, 5e-324, math.nextafter(1, 0)],
    "typical_p": [0, 5e-324, math.nextafter(1, 0)],
    "min_p": [5e-324, 1],
    "xtc_probability": [5e-324, 1],
    "xtc_threshold": [0, 5e-324, 0.5],
    "top_n_sigma": [5e-324, 1e308, -1e308],
    "repeat_penalty": [5e-324, 1e-320, 1e308],
    "frequency_penalty": [1e308, -1e308, 5e-324],
    "presence_penalty": [1e308, -1e308],
    "penalty_last_n": [10**30, -1],
    "dry_multiplier": [1e308, 5e-324],
    "dry_base": [1e308, 1],
    "dry_allowed_length": [10**30, 1],
    "dry_penalty_last_n": [10**30, -1],
    "logit_bias": [{1: 1e308}, {1: -1e308}, {0: 1e38, 1: -1e38}, {1: -INF}, {1: 5e-324}],
    "mirostat_tau": [1e308, 5e-324, 0],
    "mirostat_eta": [1e308, 5e-324, 0],
    "seed": [0, 2**64 - 1, 10**100],
}
ROWS = {
    "normal": np.random.default_rng(0).normal(0, 3, 9000).astype(np.float32),
    "equal": np.zeros(9000, np.float32),
    "largest": np.linspace(-3.4e38, 3.4e38, 9000, dtype=np.float32),
    "one": np.array([2], np.float32),
    "two": np.array([-1, 1], np.float32),
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("mirostat", [0, 1, 2])
def test_the_extremes_of_every_option_give_a_token_and_no_warning(name: str, row: str, mirostat: int) -> None:
    logits = ROWS[row]
    for value in EXTREMES[name]:
        if name == "logit_bias" and max(value) >= len(logits):
            continue
        sampler = Sampler(replace(ALL_ON, mirostat=mirostat, **{name: value}))
        sampler.start([0] * 5)
        with warnings.catch_warnings(), np.errstate(all="warn"):
            warnings.simplefilter("error")
            for _ in range(3):
                token = sampler.sample(logits)
                assert 0 <= token < len(logits)
                distribution = sampler.distribution(logits)
                sampler.accept(token)
        assert distribution.sum() == pytest.approx(1, abs=1e-3)


def test_pairs_of_extremes_give_a_token() -> None:
    names = [(name, value) for name, values in EXTREMES.items() for value in values]
    logits = ROWS["normal"][:50]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for (first, one), (second, other) in itertools.combinations(names, 2):
            if first != second:
                sampler = Sampler(replace(ALL_ON, **{first: one, second: other}))
                sampler.start([0, 1, 0, 1, 0])
                assert 0 <= sampler.sample(logits) < 50


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logit_bias", None),
        ("logit_bias", [(5, 1.0)]),
        ("dry_breaker_tokens", 5),
        ("dry_breaker_tokens", "x"),
    ],
)
def test_options_of_another_type_are_refused(name: str, value: Any) -> None:
    with pytest.raises(SamplingError, match=name):
        SamplingOptions(**{name: value})
