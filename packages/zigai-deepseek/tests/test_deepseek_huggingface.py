"""What the names of the family compute from config.json, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_deepseek.huggingface import DEEPSEEK_V2, DEEPSEEK_V3, GLM4_MOE_LITE

MAGNITUDES = DEEPSEEK_V3.computed[("rope_parameters", "rope_scaling", "hidden_size")]
MULTIPLIER, FACTOR = "rope.scaling.yarn_log_multiplier", "rope.scaling.yarn_attn_factor"


def yarn(**settings: Any) -> dict[str, Any]:
    return dict(MAGNITUDES({"rope_type": "yarn", "factor": 40.0, **settings}, None, 1))


def test_rows_of_a_head_are_its_key_and_its_value() -> None:
    key, value = DEEPSEEK_V3.parts["model.layers.{}.self_attn.kv_b_proj.weight"]
    rows = np.arange(2 * 5 * 4).reshape(10, 4)  # two heads of 3 for the key, 2 for the value
    np.testing.assert_array_equal(key.change(rows, 2, 3, 2), [rows[0:3].T, rows[5:8].T])
    np.testing.assert_array_equal(value.change(rows, 2, 3, 2), [rows[3:5], rows[8:10]])


def test_one_magnitude_for_all_is_a_tenth_and_no_factor_of_what_is_rotated() -> None:
    assert yarn(mscale=0.707, mscale_all_dim=0.707) == {MULTIPLIER: pytest.approx(0.0707)}
    assert yarn(mscale=1.0, mscale_all_dim=1.0) == {MULTIPLIER: pytest.approx(0.1)}
    assert MAGNITUDES(None, {"type": "yarn", "factor": 4, "mscale": 1, "mscale_all_dim": 1}, 1) == {
        MULTIPLIER: pytest.approx(0.1)
    }


def test_two_magnitudes_are_a_factor_of_what_is_rotated() -> None:
    growth = 0.1 * math.log(40)
    found = yarn(mscale=1.0, mscale_all_dim=0.5)
    assert found == {MULTIPLIER: pytest.approx(0.05), FACTOR: pytest.approx((1 + growth) / (1 + growth / 2))}
    assert yarn(mscale_all_dim=0.5) == {MULTIPLIER: pytest.approx(0.05), FACTOR: pytest.approx(1 + growth)}
    assert yarn(mscale_all_dim=0.5, attention_factor=1.4) == {MULTIPLIER: pytest.approx(0.05)}


def test_without_a_magnitude_for_all_nothing_is_added() -> None:
    assert yarn(mscale=1.0) == yarn() == MAGNITUDES(None, None, 1) == {}
    assert MAGNITUDES({"rope_type": "linear", "factor": 2.0}, None, 1) == {}


@pytest.mark.parametrize("value", [True, "1", -1.0, math.nan, math.inf, [1.0]])
def test_a_magnitude_that_is_none_is_an_error(value: Any) -> None:
    with pytest.raises(ValueError, match=r"mscale_all_dim is .*, but must be a number above 0"):
        yarn(mscale_all_dim=value)


def test_groups_of_v2_belong_to_the_choice_that_is_limited_by_them() -> None:
    groups = DEEPSEEK_V2.computed[("topk_method", "n_group", "topk_group")]
    assert groups("greedy", 8, 3) == {}
    assert groups("group_limited_greedy", 8, 3) == {"expert_group_count": 8, "expert_group_used_count": 3}
    with pytest.raises(UnsupportedError, match=r"'noaux_tc' \(topk_method\) is not supported"):
        groups("noaux_tc", 8, 3)


@pytest.mark.parametrize(("count", "used"), [(8, 0), (4, 5), (None, 1), (8, True), (8, 2.0)])
def test_groups_that_are_none_are_an_error(count: Any, used: Any) -> None:
    with pytest.raises(ValueError):
        DEEPSEEK_V3.computed[("n_group", "topk_group")](count, used)


def test_dense_layers_come_first() -> None:
    leading = GLM4_MOE_LITE.computed[("mlp_layer_types", "num_hidden_layers")]
    key = "leading_dense_block_count"
    assert leading(None, 3) == {key: 1}
    assert leading(["dense", "dense", "sparse"], 3) == {key: 2}
    assert leading(["sparse", "sparse"], 2) == {key: 0}
    with pytest.raises(UnsupportedError, match="a dense layer after a mixture of experts"):
        leading(["dense", "sparse", "dense"], 3)
    for kinds in ("dense", ["dense", "other"], ["dense"]):
        with pytest.raises(ValueError, match="mlp_layer_types"):
            leading(kinds, 2)


def test_halves_of_rotated_elements_and_shares_divided_by_their_sum_are_refused() -> None:
    assert DEEPSEEK_V3.required["rope_interleave"] == (True,)
    assert DEEPSEEK_V2.required["norm_topk_prob"] == (False, None)
