"""What damaged files hold, which no oracle has."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, ShapeError
from zigai_core.testing.oracles import Oracle
from zigai_mamba import granitehybrid, mamba2

MODEL = Oracle.load(Path(__file__).parent / "oracles" / "mamba2.npz").model
"""Mixers of 4 heads of 16 channels in 2 groups, with 4 taps."""


def changed(**values: Any) -> ModelDescriptor:
    return dataclasses.replace(MODEL, hyperparameters=MODEL.hyperparameters.replaced(**values))


@pytest.mark.parametrize("taps", [3, 5])
def test_filters_of_another_length_are_named(taps: int) -> None:
    with pytest.raises(ShapeError, match=rf"blk\.0\.ssm_conv1d\.weight has .*conv_kernel is {taps}"):
        mamba2(changed(ssm__conv_kernel=taps), context=64)


def test_heads_and_groups_that_do_not_fit_are_named() -> None:
    with pytest.raises(FormatError, match=r"ssm\.time_step_rank is 3, .* 64, is no multiple"):
        mamba2(changed(ssm__time_step_rank=3), context=64)
    with pytest.raises(FormatError, match=r"ssm\.group_count is 3, by which 4 heads"):
        mamba2(changed(ssm__group_count=3), context=64)


@pytest.mark.parametrize("key", ["ssm.inner_size", "ssm.state_size", "ssm.group_count", "ssm.time_step_rank"])
def test_sizes_other_than_those_of_the_tensors_are_named(key: str) -> None:
    twice = 2 * MODEL.hyperparameters.integer(key)
    with pytest.raises(ShapeError, match=r"blk\.0\.ssm_"):
        mamba2(changed(**{key.replace(".", "__"): twice}), context=64)


HYBRID = Oracle.load(Path(__file__).parent / "oracles" / "granitehybrid.npz").model
"""Three layers, of which the second has attention with two KV heads for four heads."""


@pytest.mark.parametrize("counts", [[0, 3, 0], [0, 2], [0, -1, 0], [0, 2.0, 0]])
def test_kv_heads_that_are_none_are_named(counts: Any) -> None:
    hp = HYBRID.hyperparameters.replaced(attention__head_count_kv=counts)
    with pytest.raises(FormatError, match=r"attention\.head_count_kv"):
        granitehybrid(dataclasses.replace(HYBRID, hyperparameters=hp), context=64)


def test_logits_are_not_divided_by_next_to_nothing() -> None:
    hp = HYBRID.hyperparameters.replaced(logit_scale=1e-39)
    with pytest.raises(FormatError, match=r"logit_scale is 1e-39, but must be 0 for none, or at least 1e-06"):
        granitehybrid(dataclasses.replace(HYBRID, hyperparameters=hp), context=64)


@pytest.mark.parametrize(("counts", "lacking"), [([2, 2, 0], "attn_q"), ([0, 0, 0], "ssm_in")])
def test_a_layer_of_the_other_kind_is_a_missing_tensor(counts: list[int], lacking: str) -> None:
    hp = HYBRID.hyperparameters.replaced(attention__head_count_kv=counts)
    with pytest.raises(ShapeError, match=rf"blk\.[01]\.{lacking}"):
        granitehybrid(dataclasses.replace(HYBRID, hyperparameters=hp), context=64)


def test_a_shared_expert_that_the_file_says_it_has_is_needed() -> None:
    tensors = {name: each for name, each in HYBRID.tensors.items() if "_shexp" not in name}
    with pytest.raises(ShapeError, match=r"blk\.0\.ffn_gate_shexp\.weight"):
        granitehybrid(dataclasses.replace(HYBRID, tensors=tensors), context=64)
    size = HYBRID.hyperparameters.replaced(expert_shared_feed_forward_length=0)
    graph = granitehybrid(dataclasses.replace(HYBRID, tensors=tensors, hyperparameters=size), context=64)
    assert "shexp" not in graph.describe()
