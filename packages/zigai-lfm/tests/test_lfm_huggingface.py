"""What the names of the family compute from config.json, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_lfm.huggingface import gating, hidden, kv_heads, tied

COUNTS = "attention.head_count_kv"


def test_layers_with_a_convolution_have_no_kv_heads() -> None:
    assert kv_heads(["conv", "full_attention"], None, 4, 2) == {COUNTS: [0, 4]}
    assert kv_heads(None, [0, 2], 3, 3) == {COUNTS: [3, 0, 3]}


def test_the_kinds_of_layers_win_over_indices_and_without_both_all_have_attention() -> None:
    assert kv_heads(["conv", "full_attention"], [0], 4, 2) == {COUNTS: [0, 4]}
    assert kv_heads(None, None, 4, 2) == {COUNTS: [4, 4]}


@pytest.mark.parametrize("kinds", [["conv"], ["conv"] * 3, "conv", {}, 2])
def test_kinds_that_are_not_one_for_each_layer_are_an_error(kinds: Any) -> None:
    with pytest.raises(ValueError, match="an entry for each of 2 layers"):
        kv_heads(kinds, None, 4, 2)


@pytest.mark.parametrize("kind", ["sliding_attention", "Conv", None, 0, ["conv"]])
def test_another_kind_of_layer_is_refused_with_its_name(kind: Any) -> None:
    with pytest.raises(UnsupportedError, match="layers of"):
        kv_heads(["conv", kind], None, 4, 2)


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "2", None])
def test_numbers_of_heads_and_layers_that_are_none_are_an_error(value: Any) -> None:
    for count, layers in ((value, 2), (2, value)):
        with pytest.raises(ValueError, match="must be a whole number above 0"):
            kv_heads(None, [0], count, layers)
    with pytest.raises(ValueError, match="full_attn_idxs must be an array"):
        kv_heads(None, 3, 2, 2)


def test_the_width_of_the_feed_forward_layer_is_two_thirds_rounded_up_to_a_multiple() -> None:
    assert hidden(None, 12288, True, 1.0, 256) == {"feed_forward_length": 8192}  # LFM2-1.2B
    assert hidden(None, 6656, True, 1.0, 256) == {"feed_forward_length": 4608}  # LFM2-350M
    assert hidden(None, 100, True, 1.5, 7) == {"feed_forward_length": 105}
    assert hidden(None, 100, True, 1, 33) == {"feed_forward_length": 66}


def test_the_width_is_taken_as_it_is_without_adjustment_and_not_rounded_without_a_factor() -> None:
    assert hidden(None, 12289, False, 1.0, 256) == {"feed_forward_length": 12289}
    assert hidden(None, 100, True, None, 256) == {"feed_forward_length": 66}


def test_the_name_of_the_authors_wins_over_that_of_transformers() -> None:
    assert hidden(300, 12288, False, 1.0, 256) == {"feed_forward_length": 300}


@pytest.mark.parametrize(
    "values",
    [
        (None, 0, True, 1.0, 256),
        ("8", 8, True, 1.0, 256),
        (None, None, True, 1.0, 256),
        (None, 1 << 31, False, 1.0, 256),
        (None, 8, 1, 1.0, 256),
        (None, 8, None, 1.0, 256),
        (None, 8, True, -1.0, 256),
        (None, 8, True, True, 256),
        (None, 8, True, 1e9, 256),
        (None, 8, True, "1", 256),
        (None, 8, True, 1.0, 0),
        (None, 8, True, 1.0, None),
        (None, 8, True, 1.0, 2.5),
    ],
)
def test_settings_of_which_no_width_follows_are_an_error(values: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        hidden(*values)


def test_two_keys_for_a_tied_head_must_agree() -> None:
    assert tied(None, True) == tied(True, True) == tied(False, False) == {}
    for own, tie in ((False, True), (True, False), (1, True)):
        with pytest.raises(UnsupportedError, match="give both the value that is meant"):
            tied(own, tie)


def test_scores_of_experts_are_sigmoids() -> None:
    assert gating(32) == {"expert_count": 32, "expert_gating_func": 2}
