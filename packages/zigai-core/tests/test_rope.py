"""RoPE frequencies against the formulas of the papers; integration tests compare logits with an oracle."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from zigai_core.contracts.descriptor import ModelDescriptor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.rope import RopeFrequencies, rope_frequencies
from zigai_core.testing.toys import toy_decoder

PLAIN = 10000.0 ** -(np.arange(8) / 8)


def frequencies(model: ModelDescriptor, context: int = 512) -> RopeFrequencies:
    return rope_frequencies(GraphBuilder(model.tensors), model.hyperparameters, 16, context=context)


def with_factors(model: ModelDescriptor, **factors: float) -> ModelDescriptor:
    made = {}
    for name, factor in factors.items():
        stored = np.full(8, factor, dtype=np.float32)
        made[f"{name}.weight"] = TensorInfo(f"{name}.weight", (8,), DTYPES["F32"], stored.view(np.uint8))
    return dataclasses.replace(model, tensors={**model.tensors, **made})


def test_unscaled_frequencies_equal_the_formula() -> None:
    found = frequencies(toy_decoder())
    np.testing.assert_allclose(found.frequencies, PLAIN, rtol=1e-6)
    assert found.magnitude == 1.0


@pytest.mark.parametrize("key", ["rope__scaling__factor", "rope__scale_linear"])
def test_linear_scaling_reads_its_new_and_its_old_key(key: str) -> None:
    kind = {"rope__scaling__type": "linear"} if "factor" in key else {}
    np.testing.assert_allclose(
        frequencies(toy_decoder(**{key: 4.0}, **kind)).frequencies, PLAIN / 4, rtol=1e-6
    )


def test_yarn_keeps_fast_pairs_divides_slow_ones_and_has_a_magnitude() -> None:
    model = toy_decoder(
        rope__scaling__type="yarn", rope__scaling__factor=8.0, rope__scaling__original_context_length=4096
    )
    found = frequencies(model)
    share = PLAIN / found.frequencies
    assert share[0] == pytest.approx(1)
    assert share[-1] == pytest.approx(8)
    assert np.all(np.diff(share) >= -1e-6)
    assert found.magnitude == pytest.approx(1 + 0.1 * np.log(8))


def test_longrope_takes_the_factors_for_the_context() -> None:
    model = with_factors(
        toy_decoder(
            rope__scaling__type="longrope",
            rope__scaling__original_context_length=128,
            rope__scaling__attn_factor=1.19,
        ),
        rope_factors_short=2,
        rope_factors_long=16,
    )
    np.testing.assert_allclose(frequencies(model, context=128).frequencies, PLAIN / 2, rtol=1e-6)
    np.testing.assert_allclose(frequencies(model, context=129).frequencies, PLAIN / 16, rtol=1e-6)
    assert frequencies(model).magnitude == pytest.approx(1.19)


def test_longrope_without_factors_is_an_error_with_the_name_of_the_tensor() -> None:
    with pytest.raises(ShapeError, match=r"rope_factors_short\.weight is missing"):
        frequencies(toy_decoder(rope__scaling__type="longrope"))


def test_an_unknown_scaling_is_refused_with_the_supported_ones() -> None:
    with pytest.raises(UnsupportedError, match=r"'dynamic'.*none, linear, yarn"):
        frequencies(toy_decoder(rope__scaling__type="dynamic"))


YARN = {"type": "yarn", "factor": 4.0, "original_context_length": 64}


def scaled(**scaling: object) -> RopeFrequencies:
    return frequencies(toy_decoder(**{f"rope__scaling__{key}": value for key, value in scaling.items()}))


def test_a_factor_without_a_type_is_linear() -> None:
    np.testing.assert_allclose(scaled(factor=4.0).frequencies, PLAIN / 4, rtol=1e-6)
    np.testing.assert_array_equal(scaled(type="none", factor=4.0).frequencies, scaled().frequencies)


def test_yarn_attn_factor_replaces_the_magnitude_of_yarn() -> None:
    assert scaled(**YARN).magnitude == pytest.approx(1 + 0.1 * np.log(4))
    assert scaled(**YARN, yarn_attn_factor=1.25).magnitude == 1.25
    assert scaled(**YARN, yarn_attn_factor=1.0).magnitude == 1.0


@pytest.mark.parametrize("scaling", [{}, {"type": "none"}, {"type": "linear", "factor": 4.0}, YARN])
def test_attn_factor_multiplies_the_magnitude_of_every_type(scaling: dict[str, object]) -> None:
    halved = scaled(**scaling, attn_factor=0.5)
    assert halved.magnitude == pytest.approx(0.5 * scaled(**scaling).magnitude)
    np.testing.assert_array_equal(halved.frequencies, scaled(**scaling).frequencies)


def test_without_extrapolation_yarn_is_linear() -> None:
    """As in ggml's `rope_yarn`, where an `ext_factor` of 0 gives no magnitude; -1 means "not set"."""
    flat = scaled(**YARN, yarn_ext_factor=0.0)
    np.testing.assert_allclose(flat.frequencies, PLAIN / 4, rtol=1e-6)
    assert flat.magnitude == 1.0
    unset = scaled(**YARN, yarn_ext_factor=-1.0)
    np.testing.assert_array_equal(unset.frequencies, scaled(**YARN).frequencies)
    assert unset.magnitude == scaled(**YARN).magnitude


def test_an_original_context_of_zero_is_the_context_length() -> None:
    zero = scaled(**{**YARN, "original_context_length": 0})
    np.testing.assert_array_equal(
        zero.frequencies, scaled(**{**YARN, "original_context_length": 512}).frequencies
    )


def test_the_bounds_of_yarn_are_whole_numbers_unless_they_are_not_truncated() -> None:
    """The paper's ramp, for `i(t) = pairs · ln(original / 2πt) / ln(base)`: transformers, `truncate`."""
    low, high = (8 * np.log(64 / (2 * np.pi * times)) / np.log(10000.0) for times in (4.0, 0.25))
    assert (low, high) == pytest.approx((0.8119, 3.2201), abs=1e-4)
    for truncate, first, last in ((True, 0, 4), (False, low, high)):
        divided = np.clip((np.arange(8) - first) / (last - first), 0, 1)
        expected = PLAIN / 4 * divided + PLAIN * (1 - divided)
        found = scaled(**YARN, yarn_beta_fast=4.0, yarn_beta_slow=0.25, yarn_truncate=truncate)
        np.testing.assert_allclose(found.frequencies, expected, rtol=1e-6)
    default = scaled(**YARN, yarn_beta_fast=4.0, yarn_beta_slow=0.25).frequencies
    whole = scaled(**YARN, yarn_beta_fast=4.0, yarn_beta_slow=0.25, yarn_truncate=True).frequencies
    np.testing.assert_array_equal(default, whole)


def test_a_beta_fast_below_beta_slow_gives_a_step() -> None:
    """As in llama.cpp: the pairs before an index keep their frequency, the others are divided."""
    share = PLAIN / scaled(**YARN, yarn_beta_fast=1.0, yarn_beta_slow=32.0).frequencies
    assert set(np.round(share, 4).tolist()) == {1.0, 4.0}


def test_longrope_divides_by_its_divisors_and_by_the_factor() -> None:
    model = with_factors(
        toy_decoder(rope__scaling__type="longrope", rope__scaling__factor=2.0),
        rope_factors_short=3,
        rope_factors_long=5,
    )
    np.testing.assert_allclose(frequencies(model).frequencies, PLAIN / 6, rtol=1e-6)


def test_a_file_with_the_factors_of_longrope_need_not_name_the_scaling() -> None:
    model = with_factors(toy_decoder(), rope_factors_short=3, rope_factors_long=5)
    np.testing.assert_allclose(frequencies(model).frequencies, PLAIN / 3, rtol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scaling", [{"type": "linear"}, YARN])
@pytest.mark.parametrize(
    "key",
    [
        "factor",
        "attn_factor",
        "yarn_attn_factor",
        "yarn_ext_factor",
        "yarn_beta_fast",
        "yarn_beta_slow",
        "original_context_length",
    ],
)
@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), 1e308, 1e-308, 5e-324, -1.0, 0.0, 2**31, 10**400]
)
def test_extreme_values_give_finite_frequencies_or_an_error(
    scaling: dict[str, object], key: str, value: float
) -> None:
    given = {**scaling, key: value}
    try:
        found = scaled(**given)
    except (FormatError, UnsupportedError) as error:
        assert "rope" in str(error)
    else:
        assert np.all(np.isfinite(found.frequencies))
        assert 0 <= found.magnitude < 1e13


@pytest.mark.parametrize("base", [float("nan"), float("inf"), 0.0, 1.0, -1e4, 1e308, 1e-300])
@pytest.mark.filterwarnings("error")
def test_an_extreme_base_gives_finite_frequencies_or_a_format_error(base: float) -> None:
    for scaling in ({}, {f"rope__scaling__{key}": value for key, value in YARN.items()}):
        try:
            found = frequencies(toy_decoder(rope__freq_base=base, **scaling))
        except FormatError as error:
            assert "rope.freq_base" in str(error)
        else:
            assert base == 1e308
            assert np.all(np.isfinite(found.frequencies))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("divisor", [0.0, -1.0, float("nan"), float("inf")])
def test_invalid_divisors_are_an_error_with_the_name_of_the_tensor(divisor: float) -> None:
    with pytest.raises(FormatError, match=r"rope_freqs\.weight has .* for pair 0"):
        frequencies(with_factors(toy_decoder(), rope_freqs=divisor))
    longrope = toy_decoder(rope__scaling__type="longrope")
    with pytest.raises(FormatError, match=r"rope_factors_short\.weight has .* for pair 0"):
        frequencies(with_factors(longrope, rope_factors_short=divisor))


@pytest.mark.filterwarnings("error")
def test_divisors_close_to_zero_are_a_format_error() -> None:
    with pytest.raises(FormatError, match="not finite or above"):
        frequencies(with_factors(toy_decoder(), rope_freqs=1e-38))


def test_yarn_log_multiplier_divides_the_magnitude() -> None:
    """As in llama.cpp (src/llama-context.cpp): both grow with 0.1 ln(factor)."""
    growth = 0.1 * math.log(4.0)
    found = scaled(**YARN, yarn_log_multiplier=0.5).magnitude
    assert found == pytest.approx((1 + growth) / (1 + 0.5 * growth))
    assert scaled(**YARN, yarn_log_multiplier=1.0).magnitude == 1.0
    assert scaled(**YARN, yarn_log_multiplier=0.0).magnitude == pytest.approx(1 + growth)
    assert scaled(**YARN, yarn_log_multiplier=0.5, yarn_attn_factor=1.25).magnitude == 1.25
    assert scaled(**YARN, yarn_log_multiplier=0.5, yarn_ext_factor=0.0).magnitude == 1.0


def test_an_error_repeats_little_of_a_long_scaling_name() -> None:
    with pytest.raises(UnsupportedError) as caught:
        scaled(type="x\n" * 50_000)
    assert len(str(caught.value)) < 300
