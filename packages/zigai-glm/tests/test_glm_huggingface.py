"""What the names of the family compute from config.json, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_glm.huggingface import GLM, GLM4, GLM4_MOE

ROTATED = GLM.computed[("partial_rotary_factor", "head_dim", "hidden_size", "num_attention_heads")]
COUNT = "rope.dimension_count"


def test_half_a_head_is_rotated_unless_the_folder_says_otherwise() -> None:
    assert ROTATED(None, 128, 4096, 32) == ROTATED(0.5, None, 4096, 32) == {COUNT: 64}
    assert ROTATED(1, 12, 48, 4) == {COUNT: 12}
    assert ROTATED(0.7, 12, 48, 4) == {COUNT: 8}  # rounded down


@pytest.mark.parametrize("share", [0, -0.5, 1.01, math.nan, True, "0.5", [0.5]])
def test_a_share_that_is_no_part_of_a_head_is_an_error_with_its_value(share: Any) -> None:
    with pytest.raises(ValueError, match=r"partial_rotary_factor is .*, but must be above 0 and at most 1"):
        ROTATED(share, 128, 4096, 32)


@pytest.mark.parametrize("sizes", [(0, 32, 4), ("8", 32, 4), (None, 32, 0)])
def test_sizes_of_which_no_head_follows_are_an_error(sizes: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="must be a whole number above 0"):
        ROTATED(0.5, *sizes)


def test_rotated_elements_that_are_not_pairs_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="is 9 rotated elements, which are not pairs"):
        ROTATED(0.75, 12, 48, 4)


@pytest.mark.parametrize(("count", "used"), [(8, 0), (4, 5), (None, 1), (8, True), (8, 2.0)])
def test_groups_that_are_none_are_an_error(count: Any, used: Any) -> None:
    groups = GLM4_MOE.computed[("n_group", "topk_group")]
    assert groups(4, 2) == {"expert_group_count": 4, "expert_group_used_count": 2}
    with pytest.raises(ValueError):
        groups(count, used)


def test_pairs_are_neighbours_in_dense_models_and_halves_in_mixtures() -> None:
    assert (GLM.rope_pairing, GLM4.rope_pairing, GLM4_MOE.rope_pairing) == ("adjacent", "adjacent", "half")
