"""The graph of `llama` follows the hyperparameters and tensors of a file; errors name what is missing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, ShapeError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.operations import Attention, Embedding, Experts, Linear, Rope, Route
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend import BackendConformance
from zigai_core.testing.toys import toy_decoder
from zigai_llama import llama

TOKENS = [1, 5, 300, 17, 511, 44, 2, 9]


def logits(model: ModelDescriptor) -> np.ndarray:
    program = NumpyBackend().compile(llama(model, context=64), model.tensors, CompileOptions(context=64))
    runner = DirectRunner(program)
    return runner.run([Part(runner.new_sequence(), TOKENS, want_all=True)])[0]["logits"]


def operations(graph: Graph, kind: type) -> list:
    return [operation for operation in graph if isinstance(operation, kind)]


def with_tensor(model: ModelDescriptor, name: str, values: np.ndarray) -> ModelDescriptor:
    stored = np.ascontiguousarray(values, dtype=np.float32)
    tensor = TensorInfo(name, stored.shape, DTYPES["F32"], stored.view(np.uint8).reshape(-1))
    return dataclasses.replace(model, tensors={**model.tensors, name: tensor})


class TestReferenceBackendConformance(BackendConformance):
    backend = NumpyBackend()


def test_rope_rotates_adjacent_pairs() -> None:
    assert {op.pairing for op in operations(llama(toy_decoder(), context=64), Rope)} == {"adjacent"}


def test_a_tied_output_head_uses_the_embedding_matrix() -> None:
    graph = llama(toy_decoder(tied=True), context=64)
    assert operations(graph, Embedding)[0].weight.name == "token_embd.weight"
    assert operations(graph, Linear)[-1].weight.name == "token_embd.weight"
    assert operations(llama(toy_decoder(), context=64), Linear)[-1].weight.name == "output.weight"


def test_biases_of_the_file_are_added() -> None:
    model = toy_decoder(bias=True)
    plain = {name: tensor for name, tensor in model.tensors.items() if not name.endswith(".bias")}
    assert sum(linear.bias is not None for linear in operations(llama(model, context=64), Linear)) == 6
    assert np.abs(logits(model) - logits(dataclasses.replace(model, tensors=plain))).max() > 1e-2


def test_attention_has_a_sliding_window_only_if_the_file_sets_one() -> None:
    windowed = toy_decoder(attention__sliding_window=3)
    assert {op.window for op in operations(llama(windowed, context=64), Attention)} == {3}
    assert {op.window for op in operations(llama(toy_decoder(), context=64), Attention)} == {None}
    difference = np.abs(logits(windowed) - logits(toy_decoder())).max(axis=-1)
    assert difference[:3].max() < 1e-5 < 1e-3 < difference[3:].min()


def test_attention_has_the_head_counts_of_the_file() -> None:
    graph = llama(toy_decoder(heads=4, kv_heads=1), context=64)
    assert {(op.heads, op.kv_heads) for op in operations(graph, Attention)} == {(4, 1)}


def test_rope_freqs_divides_the_frequencies() -> None:
    divisors = np.array([1, 1, 1, 1, 2, 4, 8, 8], dtype=np.float32)
    graph = llama(with_tensor(toy_decoder(), "rope_freqs.weight", divisors), context=64)
    plain = operations(llama(toy_decoder(), context=64), Rope)[0].frequencies
    np.testing.assert_allclose(operations(graph, Rope)[0].frequencies, plain / divisors, rtol=1e-6)


def test_rope_freqs_of_another_length_is_an_error() -> None:
    with pytest.raises(ShapeError, match=r"rope_freqs\.weight has shape \(3,\).*\(8,\)"):
        llama(with_tensor(toy_decoder(), "rope_freqs.weight", np.ones(3)), context=64)


def test_linear_scaling_divides_all_frequencies() -> None:
    scaled = toy_decoder(rope__scaling__type="linear", rope__scaling__factor=4.0)
    plain = operations(llama(toy_decoder(), context=64), Rope)[0].frequencies
    frequencies = operations(llama(scaled, context=64), Rope)[0].frequencies
    np.testing.assert_allclose(frequencies, plain / 4, rtol=1e-6)


def test_rope_rotates_only_the_first_rope_dimension_count_elements() -> None:
    graph = llama(toy_decoder(rope__dimension_count=8), context=64)
    assert {len(op.frequencies) for op in operations(graph, Rope)} == {4}
    assert {op.head_dim for op in operations(graph, Rope)} == {16}


def test_a_mixture_of_equal_experts_equals_the_dense_model() -> None:
    mixed = toy_decoder(experts=4)
    dense = dataclasses.replace(toy_decoder(), tensors=mixed.tensors)
    for layer in range(2):
        for part in ("gate", "up", "down"):
            name = f"blk.{layer}.ffn_{part}"
            first = mixed.tensors[f"{name}_exps.weight"].to_float32()[0]
            mixed = with_tensor(mixed, f"{name}_exps.weight", np.stack([first] * 4))
            dense = with_tensor(dense, f"{name}.weight", first)
    np.testing.assert_allclose(logits(mixed), logits(dense), atol=1e-5)


def test_experts_are_chosen_by_softmax_and_their_weights_affect_the_logits() -> None:
    model = toy_decoder(experts=4)
    route, mixture = (operations(llama(model, context=64), kind)[0] for kind in (Route, Experts))
    assert (mixture.used, mixture.gate.shape) == (2, (4, 96, 64))
    assert (route.used, route.kind, route.renormalise) == (2, "softmax", True)
    name = "blk.0.ffn_down_exps.weight"
    changed = model.tensors[name].to_float32().copy()
    changed[3] = 0
    difference = np.abs(logits(model) - logits(with_tensor(model, name, changed))).max(axis=-1)
    assert (difference > 1e-3).any()


def test_a_missing_hyperparameter_is_an_error_that_names_it() -> None:
    model = toy_decoder()
    hp = {key: value for key, value in model.hyperparameters.items() if key != "feed_forward_length"}
    with pytest.raises(FormatError, match=r"llama\.feed_forward_length is missing"):
        llama(dataclasses.replace(model, hyperparameters=Hyperparameters(hp, prefix="llama")), context=64)


@pytest.mark.parametrize("name", ["blk.1.attn_q.weight", "blk.0.ffn_norm.weight", "output_norm.weight"])
def test_a_missing_tensor_is_an_error_that_names_it(name: str) -> None:
    model = toy_decoder()
    tensors = {key: tensor for key, tensor in model.tensors.items() if key != name}
    with pytest.raises(ShapeError, match=f"{name.replace('.', '[.]')} is missing"):
        llama(dataclasses.replace(model, tensors=tensors), context=64)
