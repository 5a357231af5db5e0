"""What the names of the family compute from config.json, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_phi.huggingface import PHI3

ORIGINAL = "original_max_position_embeddings"
ROTATED = PHI3.computed[("partial_rotary_factor", "head_dim", "hidden_size", "num_attention_heads")]
SCALING = PHI3.computed[(ORIGINAL, "rope_parameters", "rope_scaling")]
WINDOW = PHI3.computed["sliding_window"]
COUNT = "rope.dimension_count"


def test_the_rotated_part_of_a_head_is_rounded_down() -> None:
    assert ROTATED(0.75, None, 3072, 24) == {COUNT: 96}  # Phi-4-mini
    assert ROTATED(0.67, None, 40, 4) == {COUNT: 6}
    assert ROTATED(0.5, 12, 32, 4) == {COUNT: 6}


@pytest.mark.parametrize("share", [None, 1, 1.0])
def test_a_whole_head_needs_no_number_of_rotated_elements(share: float | None) -> None:
    assert ROTATED(share, None, 3072, 32) == {}


@pytest.mark.parametrize("share", [0, -0.5, 1.01, math.nan, math.inf, True, "0.5", [0.5], {}])
def test_a_share_that_is_no_part_of_a_head_is_an_error_with_its_value(share: Any) -> None:
    with pytest.raises(ValueError, match=r"partial_rotary_factor is .*, but must be above 0 and at most 1"):
        ROTATED(share, None, 3072, 24)


@pytest.mark.parametrize(
    "sizes", [(0, 32, 4), ("8", 32, 4), (None, None, 4), (None, 32, None), (None, 32, 0)]
)
def test_sizes_of_which_no_head_follows_are_an_error(sizes: tuple[Any, ...]) -> None:
    with pytest.raises((ValueError, TypeError)):
        ROTATED(0.5, *sizes)


@pytest.mark.parametrize(("share", "count"), [(0.7, 7), (0.1, 1), (0.01, 0)])
def test_rotated_elements_that_are_not_pairs_are_refused(share: float, count: int) -> None:
    with pytest.raises(UnsupportedError, match=rf"{share} of a head of 10 elements is {count} rotated"):
        ROTATED(share, None, 40, 4)


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn", "llama3", "proportional", 3, ["longrope"]])
@pytest.mark.parametrize("name", ["rope_type", "type"])
def test_another_scaling_of_rope_is_refused_with_its_name(name: str, kind: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"the scaling of RoPE .* is not supported for phi3"):
        SCALING(4096, None, {name: kind})


@pytest.mark.parametrize("settings", [None, {}, {"rope_type": "default"}, {"type": "su"}, {ORIGINAL: 4096}])
def test_longrope_and_no_scaling_are_accepted(settings: Any) -> None:
    assert SCALING(4096, settings, None) == SCALING(4096, None, settings) == {}


def test_an_original_context_that_differs_among_the_settings_of_rope_is_an_error() -> None:
    with pytest.raises(ValueError, match=f"{ORIGINAL} is 4096, but 8192 among RoPE's settings"):
        SCALING(4096, {"rope_type": "longrope", ORIGINAL: 8192}, None)


def test_a_window_of_null_is_none_and_one_of_0_is_refused() -> None:
    assert (WINDOW(None), WINDOW(2047)) == ({}, {"attention.sliding_window": 2047})
    with pytest.raises(UnsupportedError, match="a window of 0 tokens is not supported"):
        WINDOW(0)


@pytest.mark.parametrize("key", ["attention_bias", "mlp_bias", "lm_head_bias"])
def test_biases_are_refused(key: str) -> None:
    assert PHI3.required[key] == (False, None)
