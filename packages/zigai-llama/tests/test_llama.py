"""What the conformance suite does not see: hyperparameters that no oracle has."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor
from zigai_core.contracts.errors import FormatError
from zigai_core.contracts.graph import Graph
from zigai_core.ops.operations import Attention, PositionScale, Rope
from zigai_core.testing.oracles import Oracle
from zigai_core.testing.toys import toy_decoder
from zigai_llama import exaone4, granite, llama, mistral3, smollm3


def stored(oracle: str, **values: Any) -> ModelDescriptor:
    """The model of an oracle, with other hyperparameters."""
    model = Oracle.load(Path(__file__).parent / "oracles" / f"{oracle}.npz").model
    return dataclasses.replace(model, hyperparameters=model.hyperparameters.replaced(**values))


def layers_with(graph: Graph, kind: type) -> list[int]:
    return sorted({int(op.output.name.split(".")[1]) for op in graph if isinstance(op, kind)})


def test_rope_rotates_only_the_first_rope_dimension_count_elements() -> None:
    ropes = [op for op in llama(toy_decoder(rope__dimension_count=8), context=64) if isinstance(op, Rope)]
    assert {(len(op.frequencies), op.head_dim) for op in ropes} == {(4, 16)}


def test_a_missing_hyperparameter_is_an_error_that_names_it() -> None:
    model = toy_decoder()
    hp = {key: value for key, value in model.hyperparameters.items() if key != "feed_forward_length"}
    with pytest.raises(FormatError, match=r"llama\.feed_forward_length is missing"):
        llama(dataclasses.replace(model, hyperparameters=Hyperparameters(hp, prefix="llama")), context=64)


def test_every_fourth_layer_of_smollm3_has_no_rope() -> None:
    assert layers_with(smollm3(stored("smollm3"), context=64), Rope) == [0, 1, 2, 4]


def test_granite_has_no_rope_if_it_is_not_finetuned_for_it() -> None:
    assert layers_with(granite(stored("granite", rope__scaling__finetuned=True), context=64), Rope) == [0, 1]
    assert not layers_with(granite(stored("granite", rope__scaling__finetuned=False), context=64), Rope)


def test_windows_of_exaone4_are_in_three_of_four_layers_without_flags_and_have_rope() -> None:
    model = stored("exaone4")
    hp = {key: value for key, value in model.hyperparameters.items() if not key.endswith("_pattern")}
    graph = exaone4(
        dataclasses.replace(model, hyperparameters=Hyperparameters(hp, prefix="exaone4")), context=64
    )
    assert [op.window for op in graph if isinstance(op, Attention)] == [7, 7, 7, None, 7]
    assert layers_with(graph, Rope) == [0, 1, 2, 4]


def test_layers_of_exaone4_that_guess_several_tokens_ahead_are_left_out() -> None:
    graph = exaone4(stored("exaone4-full", nextn_predict_layers=1), context=64)
    assert layers_with(graph, Attention) == [0]
    assert list(graph.left_out) == ["blk.1.*"]
    with pytest.raises(FormatError, match="nextn_predict_layers"):
        exaone4(stored("exaone4-full", nextn_predict_layers=2), context=64)


def test_the_temperature_of_mistral3_is_optional_and_grows_by_original_contexts() -> None:
    scales = [op for op in mistral3(stored("ministral3"), context=64) if isinstance(op, PositionScale)]
    assert {(op.length, op.offset) for op in scales} == {(16, 0)}
    assert not layers_with(
        mistral3(stored("ministral3", attention__temperature_scale=0.0), context=64), PositionScale
    )
