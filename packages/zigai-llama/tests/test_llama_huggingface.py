"""What the names of the family compute from config.json, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_llama.huggingface import EXAONE4, GRANITE, MINISTRAL3, MISTRAL3, OLMO3, SMOLLM3

ROTATED = SMOLLM3.computed[("no_rope_layers", "no_rope_layer_interval", "num_hidden_layers")]
PATTERN = EXAONE4.computed[("layer_types", "sliding_window_pattern", "sliding_window")]
TEMPERATURE = MINISTRAL3.computed[("llama_4_scaling_beta", "rope_theta", "hidden_size")]
FLAGS = "attention.sliding_window_pattern"


def test_smollm3_without_rope_in_every_fourth_layer_is_accepted() -> None:
    assert ROTATED(None, None, 36) == ROTATED(None, 4, 36) == {}
    assert ROTATED([1, 1, 1, 0, 1], 7, 5) == ROTATED([1, 1, 1, 0, 1, 1, 1, 1], 4, 5) == {}


def test_smollm3_with_other_layers_without_rope_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="only every layer 4"):
        ROTATED(None, 3, 36)
    with pytest.raises(UnsupportedError, match="1 of layer 3 is not supported"):
        ROTATED([1, 1, 1, 1], 4, 4)
    with pytest.raises(UnsupportedError, match="0 of layer 1 is not supported"):
        ROTATED([1, 0, 1, 0], 2, 4)


@pytest.mark.parametrize("flags", [[1, 1, 1], "1110", [1, 1, 1, "0"], {}])
def test_smollm3_with_flags_that_are_none_is_an_error(flags: Any) -> None:
    with pytest.raises(ValueError, match=r"array|numbers for 4 layers|neither 0 nor 1"):
        ROTATED(flags, 4, 4)


@pytest.mark.parametrize("kinds", [["full_attention", "sliding_attention"], "full_attention"])
def test_smollm3_with_windows_is_refused(kinds: Any) -> None:
    assert SMOLLM3.computed["layer_types"](["full_attention"]) == {}
    with pytest.raises(UnsupportedError, match="are not all full_attention"):
        SMOLLM3.computed["layer_types"](kinds)
    assert SMOLLM3.required["use_sliding_window"] == (False, None)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("embedding_multiplier", "embedding_scale"),
        ("residual_multiplier", "residual_scale"),
        ("attention_multiplier", "attention.scale"),
        ("logits_scaling", "logit_scale"),
    ],
)
def test_scales_of_granite_are_numbers_above_0(key: str, name: str) -> None:
    assert GRANITE.computed[key](12) == {name: 12.0}
    for value in (0, -1.0, math.nan, math.inf, True, None, "1"):
        with pytest.raises(ValueError, match="a number above 0"):
            GRANITE.computed[key](value)


def test_layers_of_exaone4_with_a_window_follow_the_kinds_or_the_period() -> None:
    assert PATTERN(["full_attention", "sliding_attention"], 4, 7) == {FLAGS: [False, True]}
    assert PATTERN(None, 4, 7) == {FLAGS: 4}
    assert PATTERN(["full_attention"], None, None) == {}
    with pytest.raises(UnsupportedError, match="without a sliding_window"):
        PATTERN(["sliding_attention"], 4, None)
    with pytest.raises(UnsupportedError, match="'LLLG' without layer_types"):
        PATTERN(None, "LLLG", 7)
    with pytest.raises(UnsupportedError, match="layers of 'chunked_attention'"):
        PATTERN(["chunked_attention"], 4, 7)


def test_windows_of_olmo3_and_exaone4_of_0_tokens_are_refused() -> None:
    for names in (OLMO3, EXAONE4):
        assert names.computed["sliding_window"](7) == {"attention.sliding_window": 7}
        assert names.computed["sliding_window"](None) == {}
        with pytest.raises(UnsupportedError, match="a window of 0 tokens"):
            names.computed["sliding_window"](0)


def test_settings_of_rope_that_olmo3_does_not_have_by_kinds_of_layers_are_refused() -> None:
    check = OLMO3.computed["rope_parameters"]
    assert check(None) == check({}) == check({"full_attention": {}}) == {}
    with pytest.raises(UnsupportedError, match="without full_attention or sliding_attention"):
        check({"rope_type": "yarn"})


def test_ministral3_needs_its_temperature_and_the_base_of_rope() -> None:
    assert TEMPERATURE(0.1, 1e6, 32) == {"attention.temperature_scale": 0.1}
    for given in ((None, 1e6), (0.1, None)):
        with pytest.raises(UnsupportedError, match="without llama_4_scaling_beta or rope_theta"):
            TEMPERATURE(*given, 32)


def test_mistral3_is_served_with_texts_of_ministral3_alone() -> None:
    assert MISTRAL3.required["model_type"] == ("ministral3",)
    assert MINISTRAL3.required["sliding_window"] == (None,)
