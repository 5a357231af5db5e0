"""RoPE of a share of the pairs, with the frequencies of the whole head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_safetensors.config import hyperparameters, one_object

PATH = Path("config.json")
NAMES = HuggingFaceNames(
    architecture="tiny",
    tensors={},
    keys={"head_dim": "attention.key_length"},
    defaults={
        "rope_parameters": {
            "full_attention": {
                "rope_type": "proportional",
                "partial_rotary_factor": 0.5,
                "rope_theta": 100.0,
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
        }
    },
)


def read(config: dict[str, Any], names: HuggingFaceNames = NAMES) -> Any:
    settings, names = one_object(config, names, PATH)
    return hyperparameters(settings, names, PATH)


def full(**settings: Any) -> dict[str, Any]:
    given = {"rope_type": "proportional", "rope_theta": 100.0, **settings}
    return {"rope_parameters": {"full_attention": given, "sliding_attention": {"rope_theta": 10.0}}}


@pytest.mark.parametrize(
    ("width", "share", "rotated"),
    # int(share · width // 2) pairs of width / 2: transformers, modeling_rope_utils
    [(20, 0.35, 3), (20, 0.25, 2), (512, 0.25, 64), (12, None, 6), (12, 1.0, 6), (12, 0.01, 0)],
)
def test_the_pairs_that_do_not_turn_have_a_divisor_that_stops_them(
    width: int, share: float | None, rotated: int
) -> None:
    settings = {} if share is None else {"partial_rotary_factor": share}
    values, divisors = read({"head_dim": width, **full(**settings)})
    assert list(divisors) == ["rope_freqs.weight"]
    expected = [1.0] * rotated + [np.float32(1e30)] * (width // 2 - rotated)
    assert divisors["rope_freqs.weight"].tolist() == expected
    assert (values["rope.freq_base"], values["rope.freq_base_swa"]) == (100.0, 10.0)
    assert "rope.scaling.type" not in values


def test_a_factor_divides_all_frequencies() -> None:
    values, divisors = read({"head_dim": 8, **full(factor=4.0, partial_rotary_factor=0.5)})
    assert (values["rope.scaling.type"], values["rope.scaling.factor"]) == ("linear", 4.0)
    assert divisors["rope_freqs.weight"].tolist() == [1, 1, np.float32(1e30), np.float32(1e30)]


@pytest.mark.parametrize("config", [{}, {"rope_parameters": None}])
def test_the_familys_settings_of_rope_hold_where_a_file_has_none(config: dict[str, Any]) -> None:
    values, divisors = read({"head_dim": 8, **config})
    assert (values["rope.freq_base"], values["rope.freq_base_swa"]) == (100.0, 10.0)
    assert divisors["rope_freqs.weight"].tolist() == [1, 1, np.float32(1e30), np.float32(1e30)]


def test_the_width_of_a_head_is_what_the_family_computes() -> None:
    names = HuggingFaceNames(
        architecture="tiny",
        tensors={},
        keys={"head_dim": "attention.key_length"},
        computed={"global_head_dim": lambda width: {"attention.key_length": width}},
    )
    _, divisors = read({"head_dim": 4, "global_head_dim": 6, **full()}, names)
    assert divisors["rope_freqs.weight"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("share", [0, -0.5, 1.5, True, "x", float("nan")])
def test_a_share_that_is_none_is_named(share: Any) -> None:
    with pytest.raises(
        FormatError, match=r"rope_parameters\.full_attention\.partial_rotary_factor is .*, but"
    ):
        read({"head_dim": 8, **full(partial_rotary_factor=share)})


@pytest.mark.parametrize("width", [None, 7, 1, 65538, 2.0])
def test_a_head_without_pairs_is_named(width: Any) -> None:
    with pytest.raises(FormatError, match=r"config\.json: a head of .* elements has no pairs for RoPE"):
        read({"head_dim": width, **full()})


def test_a_setting_of_other_scalings_is_refused() -> None:
    with pytest.raises(
        UnsupportedError, match=r"full_attention\.'beta_fast' is not supported for proportion"
    ):
        read({"head_dim": 8, **full(beta_fast=32.0)})
