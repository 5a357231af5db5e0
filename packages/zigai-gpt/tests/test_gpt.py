"""What damaged files and folders of the GPT family end in, and what no oracle has."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.ops.operations import Attention, Experts, Rope
from zigai_core.testing.oracles import Oracle
from zigai_gpt import gpt_oss
from zigai_gpt.huggingface import GPT_OSS

ORACLES = Path(__file__).parent / "oracles"
PLAIN = Oracle.load(ORACLES / "gpt-oss.npz").model
YARN = Oracle.load(ORACLES / "gpt-oss-yarn.npz").model
WINDOW, TRUNCATE = "attention.sliding_window_pattern", "rope.scaling.yarn_truncate"


def changed(model: ModelDescriptor, **values: Any) -> ModelDescriptor:
    return dataclasses.replace(model, hyperparameters=model.hyperparameters.replaced(**values))


def operations(graph: Graph, kind: type) -> list[Any]:
    return [operation for operation in graph if isinstance(operation, kind)]


def windows(**values: Any) -> list[int | None]:
    return [op.window for op in operations(gpt_oss(changed(PLAIN, **values), context=64), Attention)]


def test_the_layers_with_a_window_are_those_of_the_pattern() -> None:
    assert windows(attention__sliding_window_pattern=2) == [7, None, 7]
    assert windows(attention__sliding_window_pattern=3) == [7, 7, None]
    assert windows(attention__sliding_window_pattern=0) == [7, 7, 7]
    assert windows(attention__sliding_window_pattern=[False, True, True]) == [None, 7, 7]
    assert windows(attention__sliding_window_pattern=np.array([0, 0, 1], np.uint8)) == [None, None, 7]
    assert windows(attention__sliding_window=0) == [None, None, None]


@pytest.mark.parametrize("flags", [[True], [True, False, 2], ["a", "b", "c"]])
def test_flags_that_are_none_or_too_few_are_an_error(flags: list[Any]) -> None:
    with pytest.raises(FormatError, match=rf"gpt-oss\.{WINDOW} is .*, but must hold true or false for 3"):
        windows(attention__sliding_window_pattern=flags)


def test_bounds_of_yarn_are_rounded_only_if_the_file_says_so() -> None:
    found = {
        flag: operations(gpt_oss(changed(YARN, rope__scaling__yarn_truncate=flag), context=64), Rope)
        for flag in (False, True)
    }
    values = dict(YARN.hyperparameters.items())
    del values[TRUNCATE]
    absent = dataclasses.replace(YARN, hyperparameters=type(YARN.hyperparameters)(values, prefix="gpt-oss"))
    ropes = operations(gpt_oss(absent, context=64), Rope)
    np.testing.assert_array_equal(ropes[0].frequencies, found[False][0].frequencies)
    assert np.abs(found[True][0].frequencies / found[False][0].frequencies - 1).max() > 0.1


@pytest.mark.parametrize("limit", [0.0, -7.0, float("nan")])
def test_a_limit_that_is_none_is_an_error(limit: float) -> None:
    with pytest.raises(FormatError, match=r"gpt-oss\.swiglu_clamp_exp"):
        gpt_oss(changed(PLAIN, swiglu_clamp_exp=limit), context=64)
    gates = operations(gpt_oss(PLAIN, context=64), Experts)
    assert {(gate.limit, gate.up_offset, gate.activation) for gate in gates} == {(7.0, 1.0, "gelu_quick")}


@pytest.mark.parametrize("name", ["blk.1.attn_sinks.weight", "output.weight", "blk.0.ffn_up_exps.weight"])
def test_a_missing_tensor_is_named(name: str) -> None:
    tensors = {key: tensor for key, tensor in PLAIN.tensors.items() if key != name}
    with pytest.raises(ShapeError, match=name):
        gpt_oss(dataclasses.replace(PLAIN, tensors=tensors), context=64)


ROPE = GPT_OSS.computed[("rope_parameters", "rope_scaling", "max_position_embeddings")]


def test_without_settings_rope_is_that_of_the_class() -> None:
    expected = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 32.0,
        "rope.scaling.original_context_length": 4096,
        "rope.scaling.yarn_beta_fast": 32.0,
        "rope.scaling.yarn_beta_slow": 1.0,
        TRUNCATE: False,
    }
    assert ROPE(None, None, 131072) == ROPE({}, None, 131072) == expected


@pytest.mark.parametrize("kind", ["rope_type", "type"])
def test_yarn_without_truncate_is_rounded_as_in_transformers(kind: str) -> None:
    assert ROPE({kind: "yarn"}, None, 64) == ROPE(None, {kind: "yarn"}, 64) == {TRUNCATE: True}
    assert ROPE({kind: "yarn", "truncate": False}, None, 64) == {TRUNCATE: False}
    assert ROPE({kind: "linear", "factor": 2.0}, None, 64) == {}


def test_kinds_of_layers_and_windows_that_are_none_are_refused() -> None:
    flags, window = GPT_OSS.computed["layer_types"], GPT_OSS.computed["sliding_window"]
    assert flags(None) == {}
    assert flags(["sliding_attention", "full_attention"]) == {WINDOW: [True, False]}
    with pytest.raises(UnsupportedError, match="layers of 'chunked_attention' are not supported"):
        flags(["full_attention", "chunked_attention"])
    with pytest.raises(ValueError, match="must be an array"):
        flags("full_attention")
    for value in (None, 0):
        with pytest.raises(UnsupportedError, match="is no window"):
            window(value)


def test_another_gain_of_the_gate_is_refused() -> None:
    assert GPT_OSS.required == {"hidden_act": ("silu",), "swiglu_alpha": (1.702,)}
