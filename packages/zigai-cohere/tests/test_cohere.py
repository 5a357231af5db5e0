"""What no oracle has: Command R+, layers by default, and what the names of folders compute and refuse."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_cohere import cohere2, command_r
from zigai_cohere.huggingface import COHERE, COHERE2
from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.ops.operations import Attention, Rope, Scale
from zigai_core.testing.oracles import Oracle, float_tensor

PATTERN = COHERE2.computed[("layer_types", "sliding_window_pattern")]
FLAGS = "attention.sliding_window_pattern"


def stored(name: str) -> ModelDescriptor:
    return Oracle.load(Path(__file__).parent / "oracles" / f"{name}.npz").model


@pytest.mark.parametrize("part", ["attn_q_norm", "attn_k_norm"])
def test_command_r_plus_is_refused_with_the_tensor_that_is_not_supported(part: str) -> None:
    model = stored("command-r")
    norm = float_tensor(f"blk.0.{part}.weight", np.ones((4, 8), np.float32))
    model = dataclasses.replace(model, tensors={**model.tensors, norm.name: norm})
    with pytest.raises(UnsupportedError, match=rf"blk\.0\.{part}\.weight: layer norms of heads"):
        command_r(model, context=64)
    assert COHERE.required["use_qk_norm"] == (False, None)


def test_every_fourth_layer_of_cohere2_is_full_and_without_rope_if_files_do_not_say() -> None:
    model = stored("cohere2")
    hp = {key: value for key, value in model.hyperparameters.items() if key != FLAGS}
    model = dataclasses.replace(model, hyperparameters=Hyperparameters(hp, prefix="cohere2"))
    graph = cohere2(model, context=64)
    assert [op.window for op in graph if isinstance(op, Attention)] == [7, 7, 7, None, 7]
    ropes = {op.output.name.split(".")[1] for op in graph if isinstance(op, Rope)}
    assert ropes == {"0", "1", "2", "4"}


def test_a_scale_of_0_is_none() -> None:
    model = stored("command-r")
    model = dataclasses.replace(model, hyperparameters=model.hyperparameters.replaced(logit_scale=0.0))
    assert not [op for op in command_r(model, context=64) if isinstance(op, Scale)]


def test_folders_have_adjacent_pairs() -> None:
    assert {names.rope_pairing for names in (COHERE, COHERE2)} == {"adjacent"}
    assert stored("command-r").conventions.rope_pairing == "adjacent"


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, True, None, "1"])
def test_a_scale_of_logits_is_a_number_above_0(value: Any) -> None:
    assert COHERE.computed["logit_scale"](2) == {"logit_scale": 2.0}
    with pytest.raises(ValueError, match="a number above 0"):
        COHERE.computed["logit_scale"](value)


@pytest.mark.parametrize("value", [None, 0])
def test_cohere2_without_a_window_is_refused(value: Any) -> None:
    assert COHERE2.computed["sliding_window"](7) == {"attention.sliding_window": 7}
    with pytest.raises(UnsupportedError, match="is no window"):
        COHERE2.computed["sliding_window"](value)


def test_layers_with_a_window_follow_the_kinds_or_the_period() -> None:
    assert PATTERN(["full_attention", "sliding_attention"], 4) == {FLAGS: [False, True]}
    assert (PATTERN(None, 3), PATTERN(None, None)) == ({FLAGS: 3}, {FLAGS: 4})
    for kinds, period in ((None, 0), (None, "LLLG"), (["chunked_attention"], 4)):
        with pytest.raises(UnsupportedError, match="not supported"):
            PATTERN(kinds, period)
    with pytest.raises(ValueError, match="must be an array"):
        PATTERN("full_attention", 4)


def test_the_positions_are_those_of_model_max_length() -> None:
    assert COHERE.computed["model_max_length"](131072) == {"context_length": 131072}
    assert COHERE.computed["model_max_length"](None) == {}
