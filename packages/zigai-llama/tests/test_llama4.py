"""What the conformance suite of Llama 4 does not see: what files leave out, and what folders must not say."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.ops.operations import Attention, Experts, L2Norm, PositionScale, Rope, Route
from zigai_core.testing.oracles import Oracle
from zigai_llama import llama4
from zigai_llama.huggingface import LLAMA4_TEXT

ORACLES = Path(__file__).parent / "oracles_of_llama4"
OF_CONVERTERS = (
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.temperature_length",
    "attention.temperature_scale",
)
"""Keys that llama.cpp's converter does not write."""


def stored(oracle: str, *, without: tuple[str, ...] = (), **values: Any) -> ModelDescriptor:
    """The model of an oracle, with other hyperparameters."""
    model = Oracle.load(ORACLES / f"{oracle}.npz").model
    hp = {key: value for key, value in model.hyperparameters.items() if key not in without}
    return dataclasses.replace(model, hyperparameters=Hyperparameters(hp, prefix="llama4").replaced(**values))


def layers_with(graph: Graph, kind: type) -> list[int]:
    return sorted({int(op.output.name.split(".")[1]) for op in graph if isinstance(op, kind)})


def test_a_file_of_the_converter_has_chunks_of_8192_and_a_temperature_where_there_is_no_rope() -> None:
    graph = llama4(stored("llama4", without=OF_CONVERTERS), context=64)
    assert [op.chunk for op in graph if isinstance(op, Attention)] == [8192, 8192, 8192, None, 8192]
    assert [op.window for op in graph if isinstance(op, Attention)] == [None] * 5
    [scale] = [op for op in graph if isinstance(op, PositionScale)]
    assert (scale.output.name, scale.length, scale.factor, scale.offset) == (
        "blk.3.attn_q_scaled",
        8192,
        0.1,
        1,
    )
    assert layers_with(graph, Rope) == layers_with(graph, L2Norm) == [0, 1, 2, 4]


def test_every_second_layer_has_experts_whose_input_is_weighted() -> None:
    graph = llama4(stored("llama4"), context=64)
    assert layers_with(graph, Experts) == [1, 3]
    assert {op.weighted_input for op in graph if isinstance(op, Experts)} == {True}
    assert {(op.kind, op.renormalise) for op in graph if isinstance(op, Route)} == {("sigmoid", False)}


def test_a_model_of_128_experts_has_no_norm_of_queries_and_keys() -> None:
    graph = llama4(stored("llama4-128-experts"), context=64)
    assert not layers_with(graph, L2Norm)
    assert {op.scale for op in graph if isinstance(op, Attention)} == {8**-0.5}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("expert_count", 0),
        ("interleave_moe_layer_step", 0),
        ("attention.sliding_window", 0),  # llama.cpp: no chunks, and RoPE in all layers but the last
    ],
)
def test_a_model_without_experts_or_chunks_is_refused(key: str, value: int) -> None:
    with pytest.raises(FormatError, match=key):
        llama4(stored("llama4", **{key.replace(".", "__"): value}), context=64)


@pytest.mark.parametrize(
    ("keys", "values", "error"),
    [
        (("layer_types", "attention_chunk_size"), (None, None), "attention_chunk_size of None is not"),
        (
            ("layer_types", "attention_chunk_size"),
            (["sliding_attention"], 8),
            "layers of 'sliding_attention'",
        ),
        (("layer_types", "attention_chunk_size"), ([7], 8), "layers of 7 are not supported"),
        (("layer_types", "attention_chunk_size"), ([None], 8), "layers of None are not supported"),
        (
            ("moe_layers", "interleave_moe_layer_step", "num_hidden_layers"),
            ([0, 1], 2, 4),
            "are not those of an interleave_moe_layer_step of 2",
        ),
        (
            ("moe_layers", "interleave_moe_layer_step", "num_hidden_layers"),
            ([0], 1, 10**12),
            "are not those of an interleave_moe_layer_step of 1",
        ),
        (
            ("moe_layers", "interleave_moe_layer_step", "num_hidden_layers"),
            (None, 0, 4),
            "interleave_moe_layer_step of 0 is not",
        ),
        (("use_qk_norm", "num_local_experts"), (False, 16), "use_qk_norm False with 16 experts is not"),
        (("use_qk_norm", "num_local_experts"), (True, 128), "use_qk_norm True with 128 experts is not"),
    ],
)
def test_settings_that_no_file_can_say_are_refused(
    keys: tuple[str, ...], values: tuple[Any, ...], error: str
) -> None:
    with pytest.raises(UnsupportedError, match=error):
        LLAMA4_TEXT.computed[keys](*values)


def test_settings_that_make_no_sense_are_errors() -> None:
    for keys, values in (
        (("layer_types", "attention_chunk_size"), ("full_attention", 8)),
        (("attn_temperature_tuning", "floor_scale", "attn_scale"), ("yes", 8192, 0.1)),
        (("moe_layers", "interleave_moe_layer_step", "num_hidden_layers"), (3, 2, 4)),
    ):
        with pytest.raises(ValueError, match="must be"):
            LLAMA4_TEXT.computed[keys](*values)


def test_listed_layers_of_experts_may_be_those_of_the_step() -> None:
    keys = ("moe_layers", "interleave_moe_layer_step", "num_hidden_layers")
    assert LLAMA4_TEXT.computed[keys]([1, 3], 2, 4) == {"interleave_moe_layer_step": 2}
