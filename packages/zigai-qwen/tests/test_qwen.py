"""The graphs of the Qwen family: what each member adds to the shared decoder."""

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
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.operations import Attention, Linear, RMSNorm, Rope, Route, SigmoidGate
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.toys import toy_decoder
from zigai_qwen import qwen, qwen2, qwen2moe, qwen3, qwen3moe

TOKENS = [1, 5, 300, 17, 511, 44, 2, 9]
QWEN2 = toy_decoder("qwen2", bias=True, tied=True)
QWEN3 = toy_decoder("qwen3", qk_norm=True, tied=True, head_dim=32)


def logits(architecture: Architecture, model: ModelDescriptor) -> np.ndarray:
    graph = architecture(model, context=64)
    runner = DirectRunner(NumpyBackend().compile(graph, model.tensors, CompileOptions(context=64)))
    return runner.run([Part(runner.new_sequence(), TOKENS, want_all=True)])[0]["logits"]


def operations(graph: Graph, kind: type) -> list:
    return [operation for operation in graph if isinstance(operation, kind)]


@pytest.mark.parametrize(("architecture", "model"), [(qwen2, QWEN2), (qwen3, QWEN3)])
def test_rope_rotates_halves_of_a_head(architecture: Architecture, model: ModelDescriptor) -> None:
    assert {op.pairing for op in operations(architecture(model, context=64), Rope)} == {"half"}


def test_qwen2_has_biases_on_queries_keys_and_values_only() -> None:
    biased = [linear.weight.name for linear in operations(qwen2(QWEN2, context=64), Linear) if linear.bias]
    assert biased == [f"blk.{layer}.attn_{part}.weight" for layer in (0, 1) for part in "qkv"]


def test_qwen3_normalises_query_and_key_heads_before_rope() -> None:
    graph = qwen3(QWEN3, context=64)
    norms = [norm for norm in operations(graph, RMSNorm) if norm.weight.shape == (32,)]
    assert [norm.output.name for norm in norms[:2]] == ["blk.0.attn_q_norm", "blk.0.attn_k_norm"]
    assert {rope.x.name.rsplit("_", 1)[-1] for rope in operations(graph, Rope)} == {"norm"}


def test_qwen3_reads_the_width_of_a_head_from_the_file() -> None:
    assert {op.key_dim for op in operations(qwen3(QWEN3, context=64), Attention)} == {32}


def test_qwen3_without_head_norms_is_an_error_that_names_the_tensor() -> None:
    with pytest.raises(ShapeError, match=r"blk\.0\.attn_q_norm\.weight is missing"):
        qwen3(QWEN2, context=64)


def test_qwen_with_a_fused_matrix_equals_qwen2_with_three() -> None:
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


def test_qwen2moe_and_qwen3moe_differ_in_renormalisation_and_shared_expert() -> None:
    two = qwen2moe(toy_decoder("qwen2moe", bias=True, experts=4, shared_expert=True), context=64)
    three = qwen3moe(toy_decoder("qwen3moe", qk_norm=True, experts=4), context=64)
    assert {route.renormalise for route in operations(two, Route)} == {False}
    assert {route.renormalise for route in operations(three, Route)} == {True}
    assert [len(operations(graph, SigmoidGate)) for graph in (two, three)] == [2, 0]


def test_qwen3moe_without_expert_count_is_an_error_that_names_the_key() -> None:
    with pytest.raises(FormatError, match=r"qwen3moe\.expert_count is missing"):
        qwen3moe(toy_decoder("qwen3moe", qk_norm=True), context=64)


@pytest.mark.parametrize("module", [zigai_qwen.qwen2, zigai_qwen.qwen3])
def test_a_module_of_the_family_has_fewer_than_sixty_lines(module: object) -> None:
    assert len(inspect.getsource(module).splitlines()) < 60
