"""What the names of Granite's hybrid models compute from config.json, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_mamba.huggingface_granite import GRANITE_HYBRID, inner_size, kv_heads, positions

COUNTS = "attention.head_count_kv"


def test_layers_with_a_mixer_have_no_kv_heads() -> None:
    assert kv_heads(["mamba", "attention"], None, 4, 8, 2) == {COUNTS: [0, 4]}
    assert kv_heads(["full_attention", "linear_attention"], None, 4, 8, 2) == {COUNTS: [4, 0]}
    assert kv_heads(None, ["mamba", "attention"], None, 8, 2) == {COUNTS: [0, 8]}
    assert kv_heads(None, None, 4, 8, 3) == {COUNTS: [0, 0, 0]}


def test_two_names_of_the_kinds_of_layers_must_agree() -> None:
    kinds = ["mamba", "attention"]
    assert kv_heads(kinds, kinds, 4, 8, 2) == {COUNTS: [0, 4]}
    with pytest.raises(ValueError, match="layer_types and layers_block_type differ"):
        kv_heads(kinds, kinds[::-1], 4, 8, 2)


@pytest.mark.parametrize("kinds", [["mamba"], ["mamba"] * 3, "mamba", {}])
def test_kinds_that_are_not_one_for_each_layer_are_an_error(kinds: Any) -> None:
    with pytest.raises(ValueError, match="an entry for each of 2 layers"):
        kv_heads(kinds, None, 4, 8, 2)


@pytest.mark.parametrize("kind", ["sliding_attention", None, 0, ["mamba"]])
def test_another_kind_of_layer_is_refused_with_its_name(kind: Any) -> None:
    with pytest.raises(UnsupportedError, match="layers of"):
        kv_heads(["mamba", kind], None, 4, 8, 2)


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "2"])
def test_numbers_of_heads_and_layers_that_are_none_are_named(value: Any) -> None:
    for name, values in (
        ("num_key_value_heads", (value, 8, 2)),
        ("num_attention_heads", (None, value, 2)),
        ("num_hidden_layers", (4, 8, value)),
    ):
        with pytest.raises(ValueError, match=f"{name} is .*, but must be a whole number above 0"):
            kv_heads(None, None, *values)
    with pytest.raises(ValueError, match="num_hidden_layers is 1000000"):
        kv_heads(None, None, 4, 8, 1_000_000)


def test_the_width_of_a_mixer_is_that_of_its_heads() -> None:
    assert inner_size(2, 1536, 48, 64) == inner_size(2, 1536, 48, "auto") == {"ssm.inner_size": 3072}
    for heads, head_dim in ((48, 32), (47, "auto")):
        with pytest.raises(ValueError, match=f"{heads} heads of {head_dim} are not 3072 wide"):
            inner_size(2, 1536, heads, head_dim)
    with pytest.raises(ValueError, match="mamba_n_heads is 0"):
        inner_size(2, 1536, 0, "auto")


def test_the_published_models_have_no_positions() -> None:
    assert positions("nope") == positions(None) == {"rope.scaling.finetuned": False}
    assert positions("rope") == {"rope.scaling.finetuned": True}
    for kind in ("alibi", "learned_absolute", True, 1):
        with pytest.raises(UnsupportedError, match="positions of the kind"):
            positions(kind)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("embedding_multiplier", "embedding_scale"),
        ("residual_multiplier", "residual_scale"),
        ("attention_multiplier", "attention.scale"),
        ("logits_scaling", "logit_scale"),
    ],
)
def test_scales_are_numbers_above_0(key: str, name: str) -> None:
    assert GRANITE_HYBRID.computed[key](12) == {name: 12.0}
    for value in (0, -1.0, math.nan, math.inf, True, None, "1"):
        with pytest.raises(ValueError, match="a number above 0"):
            GRANITE_HYBRID.computed[key](value)


def test_without_experts_the_shared_one_is_the_feed_forward_layer() -> None:
    dense = GRANITE_HYBRID.variants[("num_local_experts", 0)]
    tensor = "model.layers.{}.shared_mlp.input_linear.weight"
    rows = np.arange(12).reshape(4, 3)
    for names, part in ((GRANITE_HYBRID, "_shexp"), (dense, "")):
        found = {made.name: made.change(rows).tolist() for made in names.parts[tensor]}
        assert found == {
            f"blk.{{}}.ffn_gate{part}.weight": rows[:2].tolist(),
            f"blk.{{}}.ffn_up{part}.weight": rows[2:].tolist(),
        }
    assert dense.keys["shared_intermediate_size"] == "feed_forward_length"
    assert not [name for name in dense.tensors.values() if "exps" in name or "shexp" in name]
