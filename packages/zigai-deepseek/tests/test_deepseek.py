"""What no oracle has: layers that are left out, sizes that contradict each other, YaRN by its keys."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.state import KVCache
from zigai_core.ops.operations import Attention, Rope, Route
from zigai_core.testing.oracles import Oracle, float_tensor
from zigai_deepseek import deepseek2

ORACLES = Path(__file__).parent / "oracles"
LITE, UNSPLIT, V3, FLASH = (
    Oracle.load(ORACLES / f"{name}.npz").model
    for name in ("deepseek2-lite", "deepseek2-unsplit", "deepseek3", "glm4-moe-lite")
)


def changed(model: ModelDescriptor, **values: Any) -> ModelDescriptor:
    return dataclasses.replace(model, hyperparameters=model.hyperparameters.replaced(**values))


def without(model: ModelDescriptor, *keys: str) -> ModelDescriptor:
    values = {key: value for key, value in model.hyperparameters.items() if key not in keys}
    return dataclasses.replace(model, hyperparameters=Hyperparameters(values, prefix="deepseek2"))


def operations(graph: Graph, kind: type) -> list[Any]:
    return [operation for operation in graph if isinstance(operation, kind)]


def test_layers_that_guess_further_tokens_are_left_out_with_a_reason() -> None:
    tensors = dict(V3.tensors)
    for name, tensor in V3.tensors.items():
        if name.startswith("blk.2."):
            tensors[name.replace("blk.2.", "blk.3.")] = tensor
    tensors["blk.3.nextn.eh_proj.weight"] = float_tensor("blk.3.nextn.eh_proj.weight", np.ones((2, 4)))
    more = changed(dataclasses.replace(V3, tensors=tensors), block_count=4, nextn_predict_layers=1)
    graph, expected = deepseek2(more, context=64), deepseek2(V3, context=64)
    assert graph.describe() == expected.describe()
    assert [*graph.left_out] == ["blk.3.*"]
    assert "guess several tokens ahead" in graph.left_out["blk.3.*"]


def test_the_cache_holds_the_latent_and_the_rotated_elements_once_for_all_heads() -> None:
    states = [operation.state.spec for operation in operations(deepseek2(LITE, context=64), Attention)]
    assert states == [KVCache(1, 16 + 8, 16, values_in_keys=True)] * 3
    states = [operation.state.spec for operation in operations(deepseek2(UNSPLIT, context=64), Attention)]
    assert states == [KVCache(4, 6 + 8, 10)] * 2


@pytest.mark.parametrize(
    ("key", "value"),
    [("attention__key_length", 25), ("attention__value_length", 17), ("attention__head_count_kv", 4)],
)
def test_sizes_that_are_not_those_of_the_latent_are_an_error(key: str, value: int) -> None:
    name = key.replace("__", ".")
    with pytest.raises(FormatError, match=rf"deepseek2\.{name} must be "):
        deepseek2(changed(LITE, **{key: value}), context=64)


@pytest.mark.parametrize("value", [8, 7])
def test_a_head_of_rotated_elements_alone_is_an_error(value: int) -> None:
    with pytest.raises(
        FormatError, match=r"attention\.key_length_mla must be above rope\.dimension_count, 8"
    ):
        deepseek2(changed(LITE, attention__key_length_mla=value), context=64)


def factors(model: ModelDescriptor) -> tuple[float, float]:
    """The factor of scores and that of what is rotated, of all layers."""
    graph = deepseek2(model, context=64)
    (scale,) = {operation.scale for operation in operations(graph, Attention)}
    (magnitude,) = {operation.magnitude for operation in operations(graph, Rope)}
    return scale, magnitude


def test_yarn_scales_scores_by_the_multiplier_of_files_which_is_a_tenth() -> None:
    growth = 0.1 * math.log(8)
    of_scores = (1 + 0.707 * growth) ** 2 / math.sqrt(14)
    assert factors(LITE) == pytest.approx((of_scores, 1))
    as_converted = without(LITE, "rope.scaling.yarn_attn_factor")
    assert factors(as_converted) == pytest.approx((of_scores, 1))
    plain = without(as_converted, "rope.scaling.yarn_log_multiplier")
    assert factors(plain) == pytest.approx((14**-0.5, 1 + growth))


def test_a_file_without_a_gate_has_sigmoid_if_it_has_a_bias_for_the_choice() -> None:
    for model, kind in ((FLASH, "sigmoid"), (LITE, "softmax")):
        routes = operations(deepseek2(without(model, "expert_gating_func"), context=64), Route)
        assert {route.kind for route in routes} == {kind}
    with pytest.raises(UnsupportedError, match=r"expert_gating_func is 3, which is not supported"):
        deepseek2(changed(LITE, expert_gating_func=3), context=64)


def test_groups_of_sigmoid_are_ranked_by_their_best_two_and_others_by_the_best() -> None:
    best = {route.group_best for route in operations(deepseek2(V3, context=64), Route)}
    softmax = changed(V3, expert_gating_func=1)
    assert (best, {route.group_best for route in operations(deepseek2(softmax, context=64), Route)}) == (
        {2},
        {1},
    )


def test_dense_layers_alone_need_no_experts() -> None:
    dense = without(LITE, "expert_count", "expert_used_count", "expert_shared_count")
    tensors = {
        name.replace("blk.0.", f"blk.{layer}."): tensor
        for name, tensor in LITE.tensors.items()
        for layer in (range(3) if name.startswith("blk.0.") else [0])
        if name.startswith("blk.0.") or not name.startswith("blk.")
    }
    model = changed(dataclasses.replace(dense, tensors=tensors), leading_dense_block_count=3)
    assert not operations(deepseek2(model, context=64), Route)


@pytest.mark.parametrize(
    "name", ["blk.1.attn_k_b.weight", "blk.2.exp_probs_b.bias", "blk.1.ffn_up_shexp.weight"]
)
def test_a_missing_tensor_is_named(name: str) -> None:
    tensors = {key: tensor for key, tensor in V3.tensors.items() if key != name}
    with pytest.raises(ShapeError, match=name):
        deepseek2(dataclasses.replace(V3, tensors=tensors), context=64)
