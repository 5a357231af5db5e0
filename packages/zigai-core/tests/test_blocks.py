"""The options of the decoder blocks that families share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import FormatError, PluginError, UnsupportedError
from zigai_core.contracts.graph import Value
from zigai_core.contracts.pooling import PoolKind
from zigai_core.ops.blocks import decoder
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import Attention, RMSNorm, Rope
from zigai_core.ops.pooling import pooling_kind
from zigai_core.ops.windows import windowed_layers
from zigai_core.testing.oracles import float_tensor
from zigai_core.testing.toys import toy_decoder

TOY = toy_decoder()
LAYERS = TOY.hyperparameters.integer("block_count")


def ropes(**options: Any) -> list[str]:
    return [op.output.name for op in decoder(TOY, context=64, **options) if isinstance(op, Rope)]


def test_layers_whose_flag_is_false_have_no_rope() -> None:
    assert len(ropes()) == 2 * LAYERS
    flags = [False] + [True] * (LAYERS - 1)
    assert ropes(rotated=flags) == [name for name in ropes() if not name.startswith("blk.0.")]
    graph = decoder(TOY, context=64, rotated=flags)
    first = next(op for op in graph if isinstance(op, Attention))
    assert (first.query.name, first.key and first.key.name) == ("blk.0.attn_q", "blk.0.attn_k")


def test_another_number_of_flags_than_layers_is_an_error() -> None:
    with pytest.raises(PluginError, match=rf"rotated has {LAYERS + 1} flags, but .* {LAYERS} layers"):
        decoder(TOY, context=64, rotated=[True] * (LAYERS + 1))


def test_a_function_of_queries_follows_rope_and_leaves_keys() -> None:
    def halved(g: GraphBuilder, q: Value, at: str) -> Value:
        return g.scale(q, 0.5, name=f"{at}.halved")

    for op in decoder(TOY, context=64, query=halved):
        if isinstance(op, Attention):
            assert op.query.name.endswith(".halved")
            assert op.key is not None and op.key.name.endswith(".attn_k_rope")


def test_the_norm_before_the_feed_forward_layer_has_the_given_name() -> None:
    names = [f"blk.{layer}.ffn_norm.weight" for layer in range(LAYERS)]
    tensors = dict(TOY.tensors)
    for name in names:
        other = name.replace("ffn_norm", "other_norm")
        tensors[other] = float_tensor(other, tensors.pop(name).to_float32())
    graph = decoder(_with(tensors), context=64, feed_forward_norm="other_norm")
    assert [op.output.name for op in graph if isinstance(op, RMSNorm)][1] == "blk.0.other_norm"


@pytest.mark.parametrize(("kind", "whole"), [(True, False), ("row", True)])
def test_norms_of_queries_and_keys_are_of_each_head_or_of_the_row(kind: Any, whole: bool) -> None:
    hp = TOY.hyperparameters
    width = hp.integer("embedding_length")
    heads, kv_heads = (hp.integer(f"attention.head_count{end}") for end in ("", "_kv"))
    head = width // heads
    sizes = {"attn_q_norm": heads * head, "attn_k_norm": kv_heads * head}
    tensors = dict(TOY.tensors)
    for layer in range(LAYERS):
        for part, size in sizes.items():
            name = f"blk.{layer}.{part}.weight"
            tensors[name] = float_tensor(name, np.ones(size if whole else head, np.float32))
    graph = decoder(_with(tensors), context=64, qk_norm=kind)
    norms = {op.output.name: op for op in graph if isinstance(op, RMSNorm)}
    for part, size in sizes.items():
        assert norms[f"blk.0.{part}"].weight.shape == (size if whole else head,)


def _with(tensors: Any) -> Any:
    return replace(TOY, tensors=tensors)


def flags(value: Any, layers: int = 6, period: int = 3, **settings: bool) -> list[bool]:
    hp = {} if value is None else {"attention.sliding_window_pattern": value}
    return list(windowed_layers(Hyperparameters(hp, prefix="tiny"), layers, period, **settings))


def test_the_first_layer_of_a_period_may_have_no_window() -> None:
    assert flags(None, full_first=True) == [False, True, True, False, True, True]
    assert flags(0, full_first=True) == [True] * 6
    assert flags([True, False] * 3, full_first=True) == [True, False] * 3


def test_the_pooling_is_that_of_the_file() -> None:
    def kind(**hp: int) -> PoolKind | None:
        return pooling_kind(Hyperparameters(hp, prefix="tiny"))

    assert [kind(), *(kind(pooling_type=number) for number in range(-1, 4))] == [None] * 3 + [
        "mean",
        "cls",
        "last",
    ]
    with pytest.raises(UnsupportedError, match=r"tiny\.pooling_type is 4; supported are -1, 0, 1, 2, 3"):
        kind(pooling_type=4)


def test_the_last_layer_of_a_period_has_no_window() -> None:
    assert flags(None) == [True, True, False, True, True, False]
    assert flags(2) == [True, False] * 3
    assert flags(0) == [True] * 6
    assert flags(1) == [False] * 6


def test_flags_of_layers_are_taken_as_they_are() -> None:
    given = [True, False, False, True, True, False]
    assert flags(given) == flags(np.array(given)) == flags([int(flag) for flag in given]) == given


@pytest.mark.parametrize("value", [[True, False], [0, 1, 2, 0, 1, 0], ["a"] * 6, "all", -1])
def test_what_is_no_pattern_is_an_error_that_names_the_key(value: Any) -> None:
    with pytest.raises(FormatError, match=r"attention\.sliding_window_pattern"):
        flags(value)
