"""What the conformance suite does not see of Qwen3-Next and Qwen3.5: layers that are left out, and errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.api.loading import build
from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError
from zigai_core.testing.oracles import Oracle, float_tensor
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights
from zigai_qwen import qwen3next, qwen3vl, qwen35
from zigai_qwen.huggingface_hybrid import QWEN3_NEXT, QWEN35
from zigai_qwen.huggingface_images import QWEN3_VL_MOE

ORACLES = Path(__file__).parent / "oracles"
NEXT = Oracle.load(ORACLES / "qwen3next.npz")
DENSE = Oracle.load(ORACLES / "qwen35.npz")
IMAGES = Oracle.load(ORACLES / "qwen3vl.npz")


def changed(model: ModelDescriptor, **values: Any) -> ModelDescriptor:
    """Return the model with other hyperparameters; None removes one, two underscores stand for a dot."""
    found = dict(model.hyperparameters.items()) | {
        key.replace("__", "."): value for key, value in values.items()
    }
    kept = {key: value for key, value in found.items() if value is not None}
    return replace(model, hyperparameters=Hyperparameters(kept, prefix=model.architecture))


def logits(model: ModelDescriptor) -> Any:
    graph = build(model, context=64)
    return Evaluation(graph, float_weights(graph, model.tensors), NEXT.tokens).outputs()["logits"]


def with_arrays(model: ModelDescriptor, arrays: Mapping[str, Any]) -> ModelDescriptor:
    made = {name: float_tensor(name, np.asarray(array, np.float32)) for name, array in arrays.items()}
    return replace(model, tensors={**model.tensors, **made})


@pytest.mark.parametrize("flags", [None, [True, True, True, False]])
def test_layers_that_predict_further_tokens_are_left_out(flags: list[bool] | None) -> None:
    model = NEXT.model
    values = {"block_count": 5, "nextn_predict_layers": 1}
    if flags is None:  # every fourth layer has attention, as in the oracle
        values |= {"attention__recurrent_layers": None}
    else:
        values |= {"attention__recurrent_layers": [*flags, False]}
    more = {f"blk.4.{part}.weight": np.ones((32, 32)) for part in ("nextn.eh_proj", "attn_q", "ffn_up_exps")}
    found = logits(with_arrays(changed(model, **values), more))
    np.testing.assert_array_equal(found, logits(model))


def test_a_model_of_such_layers_alone_is_refused() -> None:
    with pytest.raises(FormatError, match=r"qwen3next\.nextn_predict_layers is 4, outside 0\.\.3"):
        qwen3next(changed(NEXT.model, nextn_predict_layers=4), context=64)


@pytest.mark.parametrize("flags", [[True], [True] * 5, [1, 1, 1, 0], "all", 1, []])
def test_flags_of_layers_that_are_none_are_refused(flags: Any) -> None:
    model = changed(NEXT.model, attention__recurrent_layers=flags)
    with pytest.raises(FormatError, match=r"recurrent_layers is .*must hold true or false for 4 layers"):
        qwen3next(model, context=64)


def test_one_flag_stands_for_all_layers() -> None:
    with pytest.raises(ShapeError, match=r"blk\.3\.ssm_conv1d\.weight"):
        qwen3next(changed(NEXT.model, attention__recurrent_layers=True), context=64)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"ssm__group_count": 3},
            r"hyperparameter \w+\.ssm\.time_step_rank is 4, not a multiple of ssm\.group_count, 3",
        ),
        (
            {"ssm__inner_size": 33},
            r"hyperparameter \w+\.ssm\.inner_size is 33, not a multiple of ssm\.time_step_rank, 4",
        ),
    ],
)
def test_heads_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        qwen3next(changed(NEXT.model, **values), context=64)


def test_a_convolution_of_another_length_is_refused_by_both_numbers() -> None:
    with pytest.raises(ShapeError, match=r"ssm_conv1d\.weight has shape \(64, 4\); ssm\.conv_kernel is 3"):
        qwen3next(changed(NEXT.model, ssm__conv_kernel=3), context=64)


def test_files_with_queries_keys_values_and_gates_in_one_matrix_are_refused_by_its_name() -> None:
    model = with_arrays(NEXT.model, {"blk.0.ssm_in.weight": np.ones((96, 32))})
    with pytest.raises(UnsupportedError, match=r"blk\.0\.ssm_in\.weight, of the first files of Qwen3-Next"):
        qwen3next(model, context=64)


@pytest.mark.parametrize("sections", [[], [1] * 5, [-1, 1], [1.0], [True], [1 << 16], "1", 1])
def test_sections_that_are_none_are_refused(sections: Any) -> None:
    with pytest.raises(FormatError, match=r"dimension_sections is .*up to four numbers of pairs"):
        qwen35(changed(DENSE.model, rope__dimension_sections=sections), context=64)


def test_features_of_images_are_for_as_many_layers_as_there_are() -> None:
    np.testing.assert_array_equal(logits(changed(IMAGES.model, n_deepstack_layers=2)), logits(IMAGES.model))
    with pytest.raises(FormatError, match=r"qwen3vl\.n_deepstack_layers is 3, outside 0\.\.2"):
        qwen3vl(changed(IMAGES.model, n_deepstack_layers=3), context=64)


def test_matrices_of_experts_are_told_by_their_shape() -> None:
    name = "model.language_model.layers.{}.mlp.experts."
    gate, up = QWEN3_VL_MOE.parts[f"{name}gate_up_proj"]
    down = QWEN3_VL_MOE.parts[f"{name}down_proj"][0]
    both, one = np.arange(24.0).reshape(6, 4), np.arange(12.0).reshape(4, 3)
    for stored in (both, both.T):
        np.testing.assert_array_equal(gate.change(stored, 3, 4), both[:3])
        np.testing.assert_array_equal(up.change(stored, 3, 4), both[3:])
    for stored in (one, one.T):
        np.testing.assert_array_equal(down.change(stored, 3, 4), one)
    with pytest.raises(ValueError, match="neither 4 by 3 nor the other way round"):
        down.change(both, 3, 4)


def test_folders_whose_layers_are_of_unknown_kinds_are_refused() -> None:
    kinds = QWEN3_NEXT.computed["layer_types", "full_attention_interval", "num_hidden_layers"]
    assert kinds(None, 3, 2) == {"full_attention_interval": 3}
    assert kinds(["full_attention"], None, 1) == {
        "full_attention_interval": 4,
        "attention.recurrent_layers": [False],
    }
    for wrong in (["full_attention"], ["sliding_attention"] * 2, "full_attention", [["full_attention"]] * 2):
        with pytest.raises(ValueError, match="linear_attention or full_attention"):
            kinds(wrong, None, 2)


def test_sections_of_folders_become_four_numbers() -> None:
    sections = QWEN35.computed["mrope_section", "num_hidden_layers"]
    assert sections([3, 2], 1) == {"rope.dimension_sections": [3, 2, 0, 0]}
    assert sections(None, 1) == {"rope.dimension_sections": [11, 11, 10, 0]}
    for wrong in ([], [1] * 5, [-1], ["1"], 3):
        with pytest.raises(ValueError, match="up to four numbers of pairs"):
            sections(wrong, 1)


def test_value_heads_of_folders_are_stored_in_turns_or_together() -> None:
    """By llama.cpp's conversion/qwen.py, for 2 key heads, 4 value heads, and 1 element in each head."""
    rows = np.arange(12.0)[:, None] * np.ones((1, 3))  # of each key head: a query, a key, 2 values, 2 gates
    fused = QWEN3_NEXT.parts["model.layers.{}.linear_attn.in_proj_qkvz.weight"]
    found = [part.change(rows, 2, 4, 1, 1)[:, 0].tolist() for part in fused]
    assert found == [[0, 6, 1, 7, 2, 3, 8, 9], [4, 5, 10, 11]]
    parts = {name.rpartition("linear_attn.")[2]: made[0] for name, made in QWEN35.parts.items()}
    assert parts["in_proj_z.weight"].change(rows[:4], 2, 4)[:, 0].tolist() == [0, 2, 1, 3]
    assert parts["in_proj_qkv.weight"].change(rows[:8], 2, 4, 1)[:, 0].tolist() == [0, 1, 2, 3, 4, 6, 5, 7]
    assert parts["out_proj.weight"].change(rows[:4].T, 2, 4)[0].tolist() == [0, 2, 1, 3]
    assert parts["dt_bias"].change(rows[:4, 0], 2, 4).tolist() == [0, 2, 1, 3]
    np.testing.assert_allclose(parts["A_log"].change(rows[:4, 0], 2, 4), -np.exp([0, 2, 1, 3]))
