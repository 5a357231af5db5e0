"""What the names of the family compute from config.json, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_mamba.huggingface import MAMBA2, inner_size, mixer_parts, no_limit


def test_the_width_of_a_mixer_is_that_of_its_heads() -> None:
    found = inner_size(2, 2048, 64, 64)  # Mamba2-1.3B
    assert found == {
        "ssm.inner_size": 4096,
        "context_length": 1 << 20,
        "attention.head_count": 0,
        "feed_forward_length": 0,
    }
    with pytest.raises(ValueError, match="32 heads of 64 are not 4096 wide, expand times hidden_size"):
        inner_size(2, 2048, 32, 64)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [0, -1, 2.0, True, "2", None, 1 << 31])
def test_sizes_that_are_none_are_named(place: int, value: Any) -> None:
    values = [2, 16, 4, 8]
    values[place] = value
    name = ("expand", "hidden_size", "num_heads", "head_dim")[place]
    with pytest.raises(ValueError, match=f"{name} is .*, but must be a whole number above 0"):
        inner_size(*values)


@pytest.mark.parametrize(
    "limits", [None, [0.0, math.inf], [0, {"__float__": "Infinity"}], [-math.inf, math.inf]]
)
def test_limits_of_the_step_that_change_nothing_are_accepted(limits: Any) -> None:
    assert no_limit(limits) == {}


@pytest.mark.parametrize("limits", [[0.001, math.inf], [0.0, 0.1], [0.0, -math.inf], [0.0, math.nan]])
def test_other_limits_of_the_step_are_refused(limits: Any) -> None:
    with pytest.raises(UnsupportedError, match="limits of the step"):
        no_limit(limits)


@pytest.mark.parametrize(
    "limits", [0.1, [], [0.0], [0.0, 1, 2], [True, math.inf], [0.0, "inf"], [0.0, {}], "ab"]
)
def test_limits_that_are_no_pair_of_numbers_are_an_error(limits: Any) -> None:
    with pytest.raises(ValueError, match="time_step_limit must be an array of two numbers"):
        no_limit(limits)


def test_the_parts_of_a_mixer_have_the_shapes_of_gguf_files() -> None:
    parts = {key: made[0] for key, made in mixer_parts("m", "n_groups").items()}
    logs = np.array([0.0, math.log(2), -1.0], np.float32)
    found = parts["m.A_log"].change(logs)
    np.testing.assert_allclose(found, [[-1], [-2], [-math.exp(-1)]], rtol=1e-6)
    assert parts["m.D"].change(logs).shape == (3, 1)
    assert parts["m.conv1d.weight"].change(np.zeros((6, 1, 4))).shape == (6, 4)
    np.testing.assert_array_equal(parts["m.norm.weight"].change(np.arange(6), 2), [[0, 1, 2], [3, 4, 5]])


def test_other_activations_and_mixers_without_a_norm_are_refused() -> None:
    assert MAMBA2.required == {
        "hidden_act": ("silu",),
        "rms_norm": (True, None),
        "rescale_prenorm_residual": (False, None),
    }
