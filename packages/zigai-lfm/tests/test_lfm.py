"""What damaged files hold, which no oracle has."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, ShapeError
from zigai_core.ops.operations import Attention, ShortConv
from zigai_core.testing.oracles import Oracle
from zigai_lfm import lfm2

MODEL = Oracle.load(Path(__file__).parent / "oracles" / "lfm2.npz").model
"""Four layers, of which the second has attention with two KV heads, the others convolutions of three taps."""


def changed(**values: Any) -> ModelDescriptor:
    return dataclasses.replace(MODEL, hyperparameters=MODEL.hyperparameters.replaced(**values))


def test_layers_without_kv_heads_have_convolutions() -> None:
    graph = lfm2(MODEL, context=64)
    states = {op.states[0].name: type(op) for op in graph if op.states}
    assert states == {
        "blk.0.shortconv": ShortConv,
        "blk.1": Attention,
        "blk.2.shortconv": ShortConv,
        "blk.3.shortconv": ShortConv,
    }


@pytest.mark.parametrize("taps", [2, 4])
def test_filters_of_another_length_are_named(taps: int) -> None:
    with pytest.raises(ShapeError, match=rf"blk\.0\.shortconv\.conv\.weight has .*l_cache is {taps}"):
        lfm2(changed(shortconv__l_cache=taps), context=64)


@pytest.mark.parametrize("counts", [[0, 3, 0, 0], [0, 2, 3, 0], [0, 2, 0], [0, -1, 0, 0], [0, 2.0, 0, 0]])
def test_kv_heads_that_are_none_are_named(counts: Any) -> None:
    with pytest.raises(FormatError, match=r"attention\.head_count_kv"):
        lfm2(changed(attention__head_count_kv=counts), context=64)


@pytest.mark.parametrize(("counts", "lacking"), [([2, 2, 0, 0], "attn_q"), ([0, 0, 0, 0], "shortconv")])
def test_a_layer_of_the_other_kind_is_a_missing_tensor(counts: list[int], lacking: str) -> None:
    with pytest.raises(ShapeError, match=rf"blk\.[01]\.{lacking}"):
        lfm2(changed(attention__head_count_kv=counts), context=64)
