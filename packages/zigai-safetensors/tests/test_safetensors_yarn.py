"""YaRN's magnitude in config.json, and settings of RoPE that a family names."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_safetensors import rope

PATH = Path("config.json")
NAMES = HuggingFaceNames("tiny", {}, {})
NAMING = HuggingFaceNames("tiny", {}, {"beta": "attention.temperature_scale", "positions": "context_length"})
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
GROWTH = 0.1 * math.log(4.0)
MULTIPLIER, MAGNITUDE = "rope.scaling.yarn_log_multiplier", "rope.scaling.yarn_attn_factor"


def added(names: HuggingFaceNames = NAMES, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    rope.add({"rope_theta": 10000.0, "rope_parameters": {**YARN, **changes}}, names, values, PATH)
    return values


def test_an_mscale_of_1_is_the_multiplier_of_gguf() -> None:
    values = added(mscale=1.0, mscale_all_dim=0.5)
    assert values[MULTIPLIER] == 0.5
    assert MAGNITUDE not in values


def test_of_other_values_the_magnitude_follows() -> None:
    values = added(mscale=0.7, mscale_all_dim=0.5)
    assert values[MAGNITUDE] == pytest.approx((1 + 0.7 * GROWTH) / (1 + 0.5 * GROWTH))
    assert MULTIPLIER not in values


@pytest.mark.parametrize(
    "given", [{"mscale": 0.7}, {"mscale_all_dim": 0.7}, {"mscale": 1, "mscale_all_dim": 0}]
)
def test_one_of_the_two_alone_has_no_effect(given: dict[str, Any]) -> None:
    assert added(**given) == added()


def test_a_stated_magnitude_comes_first() -> None:
    assert added(mscale=1.0, mscale_all_dim=0.5, attention_factor=1.4) == added(attention_factor=1.4)


@pytest.mark.parametrize("value", ["1", -1.0, True, [1]])
def test_a_value_that_is_none_is_named(value: Any) -> None:
    with pytest.raises(FormatError, match=r"rope_parameters\.mscale_all_dim"):
        added(mscale=1.0, mscale_all_dim=value)


def test_settings_that_a_family_names_become_keys() -> None:
    config = {"rope_parameters": {**YARN, "beta": 0.1, "positions": 64}, "positions": 64}
    found = rope.lifted(config, NAMING, PATH)
    assert (found["beta"], found["positions"]) == (0.1, 64)
    assert added(NAMING, beta=0.1) == added()
    with pytest.raises(UnsupportedError, match=r"rope_parameters\.'beta' is not supported for yarn"):
        added(beta=0.1)


def test_a_setting_that_its_key_contradicts_is_an_error() -> None:
    with pytest.raises(FormatError, match=r"positions is 32, but 64 in rope_parameters"):
        rope.lifted({"rope_parameters": {**YARN, "positions": 64}, "positions": 32}, NAMING, PATH)
