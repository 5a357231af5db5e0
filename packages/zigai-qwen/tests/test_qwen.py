"""The members of the family differ from LLaMA, and from each other, where they should."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

import zigai_qwen.qwen2
import zigai_qwen.qwen3
from zigai_core.contracts.descriptor import ModelDescriptor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, ShapeError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Architecture
from zigai_core.engine.runner import Part, Runner
from zigai_core.ops.operations import Attention, Linear, RMSNorm, Rope, Route, SigmoidGate
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.toys import toy_decoder
from zigai_qwen import qwen, qwen2, qwen2moe, qwen3, qwen3moe

TOKENS = [1, 5, 300, 17, 511, 44, 2, 9]
QWEN2 = toy_decoder("qwen2", bias=True, tied=True)
QWEN3 = toy_decoder("qwen3", qk_norm=True, tied=True, head_dim=32)


def logits(architecture: Architecture, model: ModelDescriptor) -> np.ndarray:
    graph = architecture(model, context=64)
    runner = Runner(NumpyBackend().compile(graph, model.tensors, CompileOptions(context=64)))
    return runner.run([Part(runner.pool.new_sequence(), TOKENS, want_all=True)])[0]["logits"]


def of(graph: Graph, kind: type) -> list:
    return [operation for operation in graph if isinstance(operation, kind)]


@pytest.mark.parametrize(("architecture", "model"), [(qwen2, QWEN2), (qwen3, QWEN3)])
def test_queries_and_keys_turn_by_halves_of_a_head(
    architecture: Architecture, model: ModelDescriptor
) -> None:
    assert {operation.pairing for operation in of(architecture(model, context=64), Rope)} == {"half"}


def test_qwen2_adds_biases_to_queries_keys_and_values_alone() -> None:
    biased = [linear.weight.name for linear in of(qwen2(QWEN2, context=64), Linear) if linear.bias]
    assert biased == [f"blk.{layer}.attn_{part}.weight" for layer in (0, 1) for part in "qkv"]


def test_qwen3_normalises_each_head_before_it_turns() -> None:
    graph = qwen3(QWEN3, context=64)
    norms = [norm for norm in of(graph, RMSNorm) if norm.weight.shape == (32,)]
    assert [norm.output.name for norm in norms[:2]] == ["blk.0.attn_q_norm", "blk.0.attn_k_norm"]
    assert {rope.x.name.rsplit("_", 1)[-1] for rope in of(graph, Rope)} == {"norm"}


def test_qwen3_takes_the_width_of_a_head_from_the_file() -> None:
    assert {operation.key_dim for operation in of(qwen3(QWEN3, context=64), Attention)} == {32}


def test_qwen3_without_its_norms_is_told_so() -> None:
    with pytest.raises(ShapeError, match=r"blk\.0\.attn_q_norm\.weight is missing"):
        qwen3(QWEN2, context=64)


def test_the_first_qwen_equals_qwen2_with_its_matrices_put_together() -> None:
    split = toy_decoder("qwen", bias=True, hidden=96, kv_heads=4)
    tensors = {name: t for name, t in split.tensors.items() if ".attn_q" not in name}
    tensors = {name: t for name, t in tensors.items() if ".attn_k" not in name and ".attn_v" not in name}
    for layer in range(2):
        for kind in ("weight", "bias"):
            parts = [split.tensors[f"blk.{layer}.attn_{part}.{kind}"].to_float32() for part in "qkv"]
            fused, name = np.concatenate(parts), f"blk.{layer}.attn_qkv.{kind}"
            stored = fused.view(np.uint8).reshape(-1)
            tensors[name] = TensorInfo(name, fused.shape, DTYPES["F32"], stored)
    doubled = toy_decoder("qwen", hidden=192, kv_heads=4).hyperparameters
    together = dataclasses.replace(split, tensors=tensors, hyperparameters=doubled)
    np.testing.assert_allclose(logits(qwen, together), logits(qwen2, split), atol=1e-5)


def test_the_mixtures_differ_in_shares_and_in_the_shared_expert() -> None:
    two = qwen2moe(toy_decoder("qwen2moe", bias=True, experts=4, shared_expert=True), context=64)
    three = qwen3moe(toy_decoder("qwen3moe", qk_norm=True, experts=4), context=64)
    assert {route.renormalise for route in of(two, Route)} == {False}
    assert {route.renormalise for route in of(three, Route)} == {True}
    assert [len(of(graph, SigmoidGate)) for graph in (two, three)] == [2, 0]


def test_a_mixture_without_a_count_of_experts_is_told_so() -> None:
    with pytest.raises(FormatError, match=r"qwen3moe\.expert_count is missing"):
        qwen3moe(toy_decoder("qwen3moe", qk_norm=True), context=64)


@pytest.mark.parametrize("module", [zigai_qwen.qwen2, zigai_qwen.qwen3])
def test_a_member_of_the_family_stays_under_sixty_lines(module: object) -> None:
    assert len(inspect.getsource(module).splitlines()) < 60
