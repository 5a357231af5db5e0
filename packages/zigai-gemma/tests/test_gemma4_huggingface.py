"""What the names of Gemma 4 compute from config.json."""

from __future__ import annotations

from typing import Any

import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_gemma.huggingface_gemma4 import GEMMA4_TEXT

(WINDOWS, HEADS, HIDDEN, MIXTURE) = (keys for keys in GEMMA4_TEXT.computed if isinstance(keys, tuple))
S, F = "sliding_attention", "full_attention"


def heads(**settings: Any) -> dict[str, Any]:
    given = {"head_dim": 8, "num_key_value_heads": 4, "layer_types": [S, F, S, F], "num_hidden_layers": 4}
    values = {**given, **settings}
    return dict(GEMMA4_TEXT.computed[HEADS](*(values.get(key) for key in HEADS)))


def test_five_of_six_layers_have_a_window_and_the_last_has_none() -> None:
    def flags(kinds: Any, layers: int) -> list[bool]:
        return list(GEMMA4_TEXT.computed[WINDOWS](kinds, layers)["attention.sliding_window_pattern"])

    assert flags(None, 8) == [True] * 5 + [False, True, False]
    assert flags([S, F, S], 3) == [True, False, False]  # as transformers changes it


def test_heads_of_full_layers_stand_in_keys_of_their_own_or_in_the_configuration_of_layers() -> None:
    assert heads()["attention.key_length"] == 512  # Gemma4TextConfig
    assert heads(global_head_dim=16)["attention.value_length"] == 16
    assert heads(global_head_dim=16)["attention.key_length_swa"] == 8
    assert heads(global_head_dim=16, num_global_key_value_heads=2)["attention.head_count_kv"] == 4
    both = heads(global_head_dim=16, num_global_key_value_heads=2, attention_k_eq_v=True)
    assert both["attention.head_count_kv"] == [4, 2, 4, 2]
    assert both.pop("attention.k_eq_v") is True
    own = {"head_dim": 16, "num_key_value_heads": 2}
    assert heads(per_layer_config={"1": own, "3": own}) == both
    assert heads(per_layer_config={})["attention.key_length"] == 8  # no layer has another


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"1": {"head_dim": 16}}, "layer 3 differs from others of its kind"),
        ({"0": {"head_dim": 16}}, "layer 0 differs from others of its kind"),
        ({"1": {"skip": ["mlp"]}, "3": {}}, "with the key 'skip' is not supported"),
        ({"4": {"head_dim": 16}}, "with the layer '4' is not supported"),
    ],
)
def test_layers_that_differ_in_another_way_are_refused(config: Any, error: str) -> None:
    with pytest.raises(UnsupportedError, match=error):
        heads(per_layer_config=config)


@pytest.mark.parametrize(
    "settings",
    [
        *({"per_layer_config": value} for value in ([], "x", {"1": 3})),
        *({"global_head_dim": value} for value in (0, -1, 1.5, True, "16")),
        *({"num_key_value_heads": value} for value in (0, None, 2**31)),
        *({"attention_k_eq_v": value} for value in (1, 0, "true", [True])),
        {"layer_types": "full_attention"},
    ],
)
def test_values_that_are_none_are_errors(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        heads(**settings)


def test_layers_that_share_a_cache_may_be_twice_as_wide() -> None:
    def hidden(*values: Any) -> Any:
        return GEMMA4_TEXT.computed[HIDDEN](*values)

    assert hidden(6, True, 1, 3) == {"feed_forward_length": [6, 6, 12]}
    assert hidden(6, False, 1, 3) == hidden(6, True, 0, 3) == hidden(6, None, None, 3) == {}


def test_sizes_of_experts_hold_only_if_the_model_has_any() -> None:
    mixture = GEMMA4_TEXT.computed[MIXTURE]
    assert mixture(False, 8, 2, 24) == mixture(None, None, None, None) == {}
    assert mixture(True, 8, 2, 24) == {
        "expert_count": 8,
        "expert_used_count": 2,
        "expert_feed_forward_length": 24,
    }
    with pytest.raises(ValueError, match="top_k_experts is None, but must be a whole number above 0"):
        mixture(True, 8, None, 24)
