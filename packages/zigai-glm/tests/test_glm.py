"""What no oracle has: layers that are left out, and refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError
from zigai_core.contracts.plugins import Architecture
from zigai_core.ops.operations import RMSNorm, Route
from zigai_core.testing.oracles import Oracle, float_tensor
from zigai_glm import chatglm, glm4, glm4moe

ORACLES = Path(__file__).parent / "oracles"
CHAT, DENSE, MOE, GROUPS = (
    Oracle.load(ORACLES / f"{name}.npz").model for name in ("chatglm", "glm4", "glm4moe", "glm4moe-groups")
)


def changed(model: ModelDescriptor, **values: Any) -> ModelDescriptor:
    return dataclasses.replace(model, hyperparameters=model.hyperparameters.replaced(**values))


@pytest.mark.parametrize(("model", "architecture"), [(DENSE, glm4), (MOE, glm4moe)])
def test_layers_that_guess_further_tokens_are_left_out_with_a_reason(
    model: ModelDescriptor, architecture: Architecture
) -> None:
    tensors = dict(model.tensors)
    for name, tensor in model.tensors.items():
        if name.startswith("blk.2."):
            tensors[name.replace("blk.2.", "blk.3.")] = tensor
    tensors["blk.3.nextn.eh_proj.weight"] = float_tensor("blk.3.nextn.eh_proj.weight", np.ones((2, 4)))
    more = changed(dataclasses.replace(model, tensors=tensors), block_count=4, nextn_predict_layers=1)
    graph = architecture(more, context=64)
    assert graph.describe() == architecture(model, context=64).describe()
    assert [*graph.left_out] == ["blk.3.*"]
    with pytest.raises(FormatError, match="nextn_predict_layers"):
        architecture(changed(model, nextn_predict_layers=3), context=64)


def test_a_fused_matrix_of_queries_keys_and_values_is_served() -> None:
    tensors = {}
    for name, tensor in CHAT.tensors.items():
        layer, found, kind = name.partition(".attn_q.")
        if found:
            parts = [CHAT.tensors[f"{layer}.attn_{part}.{kind}"].to_float32() for part in "qkv"]
            fused = f"{layer}.attn_qkv.{kind}"
            tensors[fused] = float_tensor(fused, np.concatenate(parts))
        elif ".attn_k." not in name and ".attn_v." not in name:
            tensors[name] = tensor
    graph = chatglm(dataclasses.replace(CHAT, tensors=tensors), context=64)
    assert {"blk.0.attn_qkv", "blk.1.attn_qkv"} <= {operation.output.name for operation in graph}


def test_a_norm_of_queries_that_a_layer_lacks_is_named() -> None:
    for name in ("blk.1.attn_q_norm.weight", "blk.0.attn_k_norm.weight"):
        tensors = {key: tensor for key, tensor in MOE.tensors.items() if key != name}
        with pytest.raises(ShapeError, match=name):
            glm4moe(dataclasses.replace(MOE, tensors=tensors), context=64)
    norms = [op.output.name for op in glm4moe(GROUPS, context=64) if isinstance(op, RMSNorm)]
    assert not any("attn_q_norm" in name for name in norms)


def test_another_gate_of_experts_is_refused_and_0_is_sigmoid() -> None:
    with pytest.raises(UnsupportedError, match=r"glm4moe\.expert_gating_func is 1, which is not supported"):
        glm4moe(changed(MOE, expert_gating_func=1), context=64)
    routes = [op for op in glm4moe(changed(MOE, expert_gating_func=0), context=64) if isinstance(op, Route)]
    assert {route.kind for route in routes} == {"sigmoid"}


def test_groups_are_ranked_by_their_best_two() -> None:
    routes = [op for op in glm4moe(GROUPS, context=64) if isinstance(op, Route)]
    assert {(route.groups, route.groups_used, route.group_best) for route in routes} == {(4, 2, 2)}
