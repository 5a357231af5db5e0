"""The graphs of the Gemma family: what each member adds to the shared layers."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

import numpy as np
import pytest

from zigai_core.api.unread import check_unread
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Architecture
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.operations import Attention, GatedActivation, Pool, Rope, Scale, SoftCap
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.toys import random_tensor, toy_decoder
from zigai_gemma import gemma, gemma2, gemma3, gemma_embedding

TOKENS = np.random.RandomState(0).randint(0, 512, 40).tolist()
WINDOW: dict[str, Any] = {"attention__sliding_window": 8}


def toy(architecture: str, **changes: Any) -> ModelDescriptor:
    """A decoder of this architecture with random weights, the norms after its parts included."""
    layers = changes.setdefault("layers", 3)
    model = toy_decoder(architecture, **{"head_dim": 32, "tied": True, **changes})
    random = np.random.RandomState(1)
    names = [
        f"blk.{layer}.{part}.weight"
        for layer in range(layers)
        for part in ("post_attention_norm", "post_ffw_norm")
        if architecture != "gemma"
    ]
    more = {name: random_tensor(name, (64,), "F32", random, 1.0) for name in names}
    return dataclasses.replace(model, tensors={**model.tensors, **more})


def toy3(**changes: Any) -> ModelDescriptor:
    return toy("gemma3", **{"layers": 7, "qk_norm": True, "rope__freq_base": 1e6, **WINDOW, **changes})


def logits(architecture: Architecture, model: ModelDescriptor, *, single: bool = False) -> np.ndarray:
    graph = architecture(model, context=64)
    runner = DirectRunner(NumpyBackend().compile(graph, model.tensors, CompileOptions(context=64)))
    sequence = runner.new_sequence()
    parts = [[token] for token in TOKENS] if single else [TOKENS]
    return np.concatenate([runner.run([Part(sequence, p, want_all=True)])[0]["logits"] for p in parts])


def operations(graph: Graph, kind: type) -> list[Any]:
    return [operation for operation in graph if isinstance(operation, kind)]


def windows(graph: Graph) -> list[int | None]:
    return [op.window for op in operations(graph, Attention)]


MEMBERS = [(gemma, toy("gemma")), (gemma2, toy("gemma2", **WINDOW)), (gemma3, toy3())]


@pytest.mark.parametrize(("architecture", "model"), MEMBERS)
def test_embeddings_are_scaled_by_the_root_of_the_width_and_layers_are_geglu(
    architecture: Architecture, model: ModelDescriptor
) -> None:
    graph = architecture(model, context=64)
    assert [op.factor for op in operations(graph, Scale)] == [8.0]
    assert {op.activation for op in operations(graph, GatedActivation)} == {"gelu_tanh"}
    assert {op.pairing for op in operations(graph, Rope)} == {"half"}


@pytest.mark.parametrize(("architecture", "model"), MEMBERS)
def test_a_prompt_equals_its_tokens_one_by_one(architecture: Architecture, model: ModelDescriptor) -> None:
    whole = logits(architecture, model)
    np.testing.assert_allclose(logits(architecture, model, single=True), whole, rtol=0, atol=1e-3)


def test_gemma2_has_windows_in_every_other_layer_and_the_caps_of_llama_cpp() -> None:
    graph = gemma2(toy("gemma2"), context=64)
    assert windows(graph) == [4096, None, 4096]
    assert {op.soft_cap for op in operations(graph, Attention)} == {50.0}
    assert [op.cap for op in operations(graph, SoftCap)] == [30.0]
    without = gemma2(toy("gemma2", attn_logit_softcapping=0.0, final_logit_softcapping=0.0), context=64)
    assert {op.soft_cap for op in operations(without, Attention)} == {None}
    assert operations(without, SoftCap) == []


def test_gemma3_has_a_full_layer_after_five_with_a_window_and_a_base_for_each_kind() -> None:
    graph = gemma3(toy3(rope__freq_base_swa=5e3, rope__scaling__factor=8.0), context=64)
    assert windows(graph) == [8, 8, 8, 8, 8, None, 8]
    assert [op.window for op in operations(gemma3(toy3(layers=2), context=64), Attention)] == [8, 8]
    local, full = 5e3 ** -(np.arange(0, 32, 2) / 32), 1e6 ** -(np.arange(0, 32, 2) / 32) / 8
    for number, op in enumerate(operations(graph, Rope)):
        np.testing.assert_allclose(op.frequencies, full if number // 2 == 5 else local, rtol=1e-6)


def test_gemma3_without_a_window_has_full_layers_of_one_base() -> None:
    graph = gemma3(toy3(attention__sliding_window=0), context=64)
    assert windows(graph) == [None] * 7
    assert len({op.frequencies.tobytes() for op in operations(graph, Rope)}) == 1


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (2, [8, None, 8]),
        (1, [None, None, None]),
        (0, [8, 8, 8]),
        ([True, True, False], [8, 8, None]),
        (np.array([False, True, True]), [None, 8, 8]),
    ],
)
def test_the_pattern_of_windows_is_a_period_or_a_flag_for_each_layer(pattern: Any, expected: Any) -> None:
    model = toy3(layers=3, attention__sliding_window_pattern=pattern)
    assert windows(gemma3(model, context=64)) == expected


@pytest.mark.parametrize(
    "pattern",
    [
        [True],
        [True, False, 2],
        ["a", "b", "c"],
        [0.0, 1.0, 1.0],
        np.zeros((3, 2)),
        [np.zeros(2), np.zeros(2), np.zeros(2)],
        [[True], [True], [True]],
    ],
)
def test_flags_that_do_not_fit_the_layers_are_an_error(pattern: Any) -> None:
    with pytest.raises(
        FormatError,
        match=r"gemma3\.attention\.sliding_window_pattern is .*must hold true or false for 3 layers",
    ):
        gemma3(toy3(layers=3, attention__sliding_window_pattern=pattern), context=64)


@pytest.mark.parametrize(("name", "architecture", "layers"), [("gemma2", gemma2, 46), ("gemma3", gemma3, 62)])
def test_scores_are_scaled_as_the_file_says_or_as_in_the_model_of_27b(
    name: str, architecture: Architecture, layers: int
) -> None:
    def scale(**changes: Any) -> float:
        graph = architecture(toy(name, qk_norm=True, rope__freq_base=1e6, **changes), context=64)
        (only,) = {op.scale for op in operations(graph, Attention)}
        return float(only)

    assert scale() == 32**-0.5
    assert scale(layers=layers) == (64 // 4) ** -0.5
    assert scale(layers=layers, attention__scale=0.5) == 0.5


def test_gemma3_without_a_base_is_an_error_that_names_the_key() -> None:
    values = {key: value for key, value in toy3().hyperparameters.items() if key != "rope.freq_base"}
    model = dataclasses.replace(toy3(), hyperparameters=type(toy3().hyperparameters)(values, prefix="gemma3"))
    with pytest.raises(FormatError, match=r"gemma3\.rope\.freq_base is missing"):
        gemma3(model, context=64)


@pytest.mark.parametrize("base", [0.5, 1.0])
def test_a_base_of_windows_that_is_too_small_is_named(base: float) -> None:
    with pytest.raises(FormatError, match=rf"gemma3\.rope\.freq_base_swa is {base}, but must be 1\.001 or"):
        gemma3(toy3(rope__freq_base_swa=base), context=64)


@pytest.mark.parametrize(
    ("changes", "kind", "error"),
    [
        ({"attention__causal": True}, UnsupportedError, r"gemma-embedding\.attention\.causal is true, but"),
        ({"dense_2_feat_in": 3}, FormatError, r"gemma-embedding\.dense_2_feat_in is not 64, the width"),
    ],
)
def test_an_error_of_gemma_embedding_has_the_whole_key(
    changes: dict[str, Any], kind: type[Exception], error: str
) -> None:
    with pytest.raises(kind, match=error):
        gemma_embedding(toy_embedding(**changes), context=64)


def test_gemma2_without_a_norm_after_attention_is_an_error_that_names_the_tensor() -> None:
    with pytest.raises(ShapeError, match=r"blk\.0\.post_attention_norm\.weight is missing"):
        gemma2(toy_decoder("gemma2", tied=True), context=64)


def test_gemma3_leaves_out_images_and_nothing_else() -> None:
    def check(*more: str) -> None:
        model = toy3()
        random = np.random.RandomState(1)
        tensors = {name: random_tensor(name, (4,), "F32", random, 1.0) for name in more}
        model = dataclasses.replace(model, tensors={**model.tensors, **tensors})
        graph = gemma3(model, context=64)
        check_unread(model, model.hyperparameters, graph, context=64, how="error")

    check("v.blk.0.attn_q.weight", "mm.input_projection.weight")
    with pytest.raises(UnsupportedError, match=r"blk\.0\.other"):
        check("blk.0.other.weight")


def toy_embedding(**changes: Any) -> ModelDescriptor:
    values = {"layers": 7, "qk_norm": True, "rope__freq_base": 1e6, **WINDOW, "pooling_type": 1, **changes}
    model = toy("gemma-embedding", **values)
    random = np.random.RandomState(2)
    dense = {"dense_2.weight": (96, 64), "dense_3.weight": (64, 96)}
    more = {name: random_tensor(name, shape, "F32", random, 0.1) for name, shape in dense.items()}
    return dataclasses.replace(model, tensors={**model.tensors, **more})


def test_gemma_embedding_sees_half_a_window_in_each_direction_without_a_cache() -> None:
    graph = gemma_embedding(toy_embedding(), context=64)
    assert windows(graph) == [5, 5, 5, 5, 5, None, 5]  # |i - j| < 5 is at most 8 // 2 away
    assert graph.states == ()
    assert windows(gemma_embedding(toy_embedding(attention__sliding_window=7), context=64))[0] == 4


def test_gemma_embedding_pools_and_then_applies_its_dense_layers() -> None:
    graph = gemma_embedding(toy_embedding(), context=64)
    assert [op.kind for op in operations(graph, Pool)] == ["mean"]
    assert [op.output.name for op in graph][-3:] == ["pooled", "dense_2", "dense_3"]
    assert (graph.outputs["hidden"].name, list(graph.outputs)) == ("dense_3", ["hidden"])


@pytest.mark.parametrize(("number", "kind"), [(-1, None), (0, None), (1, "mean"), (2, "cls"), (3, "last")])
def test_the_pooling_of_gemma_embedding_is_the_files(number: int, kind: str | None) -> None:
    assert gemma_embedding(toy_embedding(pooling_type=number), context=64).pooling == kind


def test_a_ranking_head_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"gemma-embedding\.pooling_type is 4; supported are -1, 0, 1"):
        gemma_embedding(toy_embedding(pooling_type=4), context=64)


@pytest.mark.parametrize("name", ["gemma", "gemma2", "gemma3", "gemma3n", "gemma4", "gemma_embedding"])
def test_a_module_of_the_family_has_at_most_sixty_lines(name: str) -> None:
    assert len(inspect.getsource(importlib.import_module(f"zigai_gemma.{name}")).splitlines()) <= 60


def test_embeddings_of_images_stand_behind_the_scale_of_those_of_tokens() -> None:
    """transformers scales in `Gemma3TextScaledWordEmbedding`, and llama.cpp only what has a token."""
    model = toy3()
    table = model.tensors["token_embd.weight"].to_float32()
    graph = gemma3(model, context=64)
    assert graph.input_width == 64
    runner = DirectRunner(NumpyBackend().compile(graph, model.tensors, CompileOptions(context=64)))
    tokens = [-1 if place % 3 == 1 else token for place, token in enumerate(TOKENS)]
    rows = table[TOKENS[1::3]] * np.float32(64**0.5)
    part = Part(runner.new_sequence(), tokens, want_all=True, embeddings=rows)
    np.testing.assert_allclose(runner.run([part])[0]["logits"], logits(gemma3, model), rtol=0, atol=1e-5)
