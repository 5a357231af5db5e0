"""What the names of Mamba and Falcon Mamba compute from config.json, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from zigai_mamba.huggingface import MAMBA2
from zigai_mamba.huggingface_mamba import FALCON_MAMBA, MAMBA, inner_size, normed, rank


def test_the_width_of_a_mixer_is_given_or_a_multiple_of_the_models() -> None:
    assert inner_size(None, 2, 768)["ssm.inner_size"] == 1536
    assert inner_size(1000, 2, 768)["ssm.inner_size"] == 1000
    for name, values in (
        ("intermediate_size", (0, 2, 768)),
        ("expand", (None, 0, 768)),
        ("hidden_size", (None, 2, 1.5)),
    ):
        with pytest.raises(ValueError, match=f"{name} is .*, but must be a whole number above 0"):
            inner_size(*values)


def test_the_rank_of_the_step_is_given_or_a_sixteenth_rounded_up() -> None:
    assert rank("auto", 768) == rank(48, 768) == {"ssm.time_step_rank": 48}
    assert rank("auto", 769) == {"ssm.time_step_rank": 49}
    for value in (0, None, "48", 1.0):
        with pytest.raises(ValueError, match="time_step_rank is"):
            rank(value, 768)


@pytest.mark.parametrize("epsilon", [0, -1.0, True, None, "1e-6", math.nan, math.inf])
def test_an_epsilon_that_is_none_is_an_error(epsilon: Any) -> None:
    assert normed(1e-6) == {"ssm.dt_b_c_rms": True, "ssm.dt_b_c_rms_epsilon": 1e-6}
    with pytest.raises(ValueError, match="mixer_rms_eps must be a number above 0"):
        normed(epsilon)


def test_decays_are_negative_exponentials_of_the_whole_matrix() -> None:
    part = MAMBA.parts["backbone.layers.{}.mixer.A_log"][0]
    assert part.computes
    np.testing.assert_allclose(part.change(np.log([[1.0, 2.0], [3.0, 4.0]])), [[-1, -2], [-3, -4]])


def test_only_falcon_mamba_has_norms_of_the_step_and_rescaled_weights_are_refused() -> None:
    assert "mixer_rms_eps" in FALCON_MAMBA.computed and "mixer_rms_eps" not in MAMBA.computed
    for names in (MAMBA, MAMBA2, FALCON_MAMBA):
        assert names.required["rescale_prenorm_residual"] == (False, None)
