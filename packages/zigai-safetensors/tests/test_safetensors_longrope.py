"""LongRoPE's settings in config.json: factors as tensors, and what is wrong with them is named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_safetensors import rope

NAMES = HuggingFaceNames("tiny", {}, {})
CONFIG: dict[str, Any] = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "rope_theta": 10000.0,
}
LONGROPE = {
    "rope_type": "longrope",
    "original_max_position_embeddings": 32,
    "short_factor": [1, 1.5, 2, 3],
    "long_factor": [1.2, 2, 5, 9],
}


def added(**changes: Any) -> tuple[dict[str, Any], rope.Tensors]:
    given = {key: value for key, value in {**LONGROPE, **changes}.items() if value is not None}
    values: dict[str, Any] = {}
    return values, rope.add({**CONFIG, "rope_scaling": given}, NAMES, values, Path("config.json"))


def test_the_factors_are_tensors_and_the_magnitude_follows_the_context() -> None:
    values, tensors = added()
    assert {name: array.tolist() for name, array in tensors.items()} == {
        "rope_factors_short.weight": [1, 1.5, 2, 3],
        "rope_factors_long.weight": np.array([1.2, 2, 5, 9], np.float32).tolist(),
    }
    assert values["rope.scaling.type"] == "longrope"
    assert values["rope.scaling.original_context_length"] == 32
    assert values["rope.scaling.attn_factor"] == pytest.approx(math.sqrt(1 + math.log(4) / math.log(32)))
    assert "rope.scaling.factor" not in values  # it would divide the frequencies


def test_the_first_name_of_the_scaling_means_the_same() -> None:
    expected, factors = added()
    values, tensors = added(rope_type=None, type="su")
    assert values == expected
    assert {name: array.tolist() for name, array in tensors.items()} == {
        name: array.tolist() for name, array in factors.items()
    }


def test_a_stated_magnitude_and_a_factor_come_before_the_context() -> None:
    assert added(attention_factor=1.4)[0]["rope.scaling.attn_factor"] == 1.4
    assert added(factor=1.0)[0]["rope.scaling.attn_factor"] == 1.0
    assert added(factor=8.0)[0]["rope.scaling.attn_factor"] == pytest.approx(math.sqrt(1.6))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"long_factor": None}, r"rope_scaling\.long_factor must be an array of 4 numbers, not None"),
        ({"long_factor": [1, 2]}, r"rope_scaling\.long_factor .* of 2$"),
        ({"short_factor": [1, 2, 3, "x"]}, r"rope_scaling\.short_factor is 'x'"),
        ({"short_factor": [1, 2, 3, 0]}, r"rope_scaling\.short_factor is 0"),
        ({"attention_factor": -1}, r"rope_scaling\.attention_factor is -1"),
    ],
)
def test_what_is_wrong_with_the_factors_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        added(**changes)
