"""The graph of Gemma 4: caches that layers share, heads of two kinds, and values that are keys."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.api.unread import UnreadError, check_unread
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, ShapeError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.hyperparameters import Hyperparameters
from zigai_core.ops.operations import Attention, Embedding, Experts, Rope, SoftCap
from zigai_core.testing.oracles import Oracle
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights
from zigai_core.testing.oracles.oracle import float_tensor
from zigai_gemma import gemma4

ORACLES = Path(__file__).parent / "oracles"
SMALL = Oracle.load(ORACLES / "gemma4.npz")
EXPERTS = Oracle.load(ORACLES / "gemma4-experts.npz")


def changed(oracle: Oracle = SMALL, tensors: dict[str, Any] | None = None, **values: Any) -> ModelDescriptor:
    """The oracle's model with other hyperparameters, and other tensors, None for one left out."""
    kept = {**oracle.model.tensors}
    for name, array in (tensors or {}).items():
        if array is None:
            del kept[name]
        else:
            kept[name] = float_tensor(name, array)
    hp = oracle.model.hyperparameters.replaced(**values)
    return dataclasses.replace(oracle.model, tensors=kept, hyperparameters=hp)


def logits(model: ModelDescriptor, oracle: Oracle = SMALL) -> np.ndarray:
    graph = gemma4(model, context=64)
    check_unread(model, model.hyperparameters, graph, context=64, how="error")
    return Evaluation(graph, float_weights(graph, model.tensors), oracle.tokens).outputs()["logits"]


def operations(graph: Graph, kind: type) -> list[Any]:
    return [operation for operation in graph if isinstance(operation, kind)]


def test_the_last_layers_read_the_cache_of_the_last_layer_of_their_kind_before_them() -> None:
    attentions = operations(gemma4(SMALL.model, context=64), Attention)
    assert [op.state.name for op in attentions] == ["blk.0", "blk.1", "blk.2", "blk.1", "blk.2"]
    assert [op.key is None for op in attentions] == [False, False, False, True, True]
    assert [op.window for op in attentions] == [7, 7, None, 7, None]
    assert [(op.key_dim, op.scale) for op in attentions] == [(8, 1), (8, 1), (12, 1), (8, 1), (12, 1)]


def test_a_key_that_contradicts_the_tensors_about_values_is_an_error() -> None:
    full = "blk.2.attn_v.weight"
    without = {full: None}
    stored = logits(changed(attention__k_eq_v=False))
    shared = logits(changed(tensors=without, attention__k_eq_v=True))
    assert np.abs(stored - shared).max() > 0.1
    for tensors, expected in (({}, stored), (without, shared)):  # without the key the tensors tell
        model = changed(tensors=tensors)
        values = {key: value for key, value in model.hyperparameters.items() if key != "attention.k_eq_v"}
        told = dataclasses.replace(model, hyperparameters=Hyperparameters(values, prefix="gemma4"))
        np.testing.assert_array_equal(logits(told), expected)
    with pytest.raises(ShapeError, match=f"{full} is missing"):
        logits(changed(tensors=without, attention__k_eq_v=False))
    with pytest.raises(UnreadError, match=full):
        logits(changed(attention__k_eq_v=True))


def test_projections_that_nothing_reads_are_left_out() -> None:
    names = {
        "blk.3.attn_k.weight": (16, 32),
        "blk.3.attn_v.weight": (16, 32),
        "blk.4.attn_k_norm.weight": (12,),
    }
    model = changed(SMALL, {name: np.ones(shape, np.float32) for name, shape in names.items()})
    np.testing.assert_array_equal(logits(model), logits(SMALL.model))


def test_fused_projections_are_the_same_model() -> None:
    tensors = {name: tensor.to_float32() for name, tensor in SMALL.model.tensors.items()}
    changes: dict[str, Any] = {}
    for layer in range(5):
        parts = [f"blk.{layer}.attn_{part}.weight" for part in ("q", "k", "v")]
        widths = (12, 24) if layer in (2, 4) else (8, 16)
        rows = [tensors.get(name, np.ones((widths[1], 32), np.float32)) for name in parts]
        changes[f"blk.{layer}.attn_qkv.weight"] = np.concatenate(rows)
        changes |= {name: None for name in parts if name in tensors}
    np.testing.assert_allclose(logits(changed(SMALL, changes)), logits(SMALL.model), rtol=0, atol=1e-4)


def test_a_full_layer_without_values_has_the_keys_projection_for_them() -> None:
    keys = EXPERTS.model.tensors["blk.1.attn_k.weight"].to_float32()
    model = changed(EXPERTS, {"blk.1.attn_v.weight": keys}, attention__k_eq_v=False)
    np.testing.assert_array_equal(logits(model, EXPERTS), logits(EXPERTS.model, EXPERTS))
    with pytest.raises(ShapeError, match=r"blk\.0\.attn_v\.weight is missing"):
        gemma4(changed(EXPERTS, {"blk.0.attn_v.weight": None}), context=64)


def test_divisors_of_frequencies_are_for_full_layers_alone() -> None:
    ropes = operations(gemma4(SMALL.model, context=64), Rope)
    local = (50.0 ** -(np.arange(0, 8, 2) / 8)).astype(np.float32)
    # Two of six pairs turn, int(0.35 · 12 // 2).
    full = np.where(np.arange(6) < 2, 5000.0 ** -(np.arange(0, 12, 2) / 12), 0.0)
    for op in ropes:
        expected = local if op.head_dim == 8 else full
        np.testing.assert_allclose(op.frequencies, expected, rtol=1e-5, atol=1e-28)
    half = operations(gemma4(changed(rope__dimension_count_swa=4), context=64), Rope)[0]
    np.testing.assert_allclose(half.frequencies, 50.0 ** -(np.arange(0, 4, 2) / 4), rtol=1e-6)


def test_the_table_of_inputs_of_layers_is_looked_up_and_not_multiplied() -> None:
    graph = gemma4(SMALL.model, context=64)
    assert [op.weight.name for op in operations(graph, Embedding)] == [
        "token_embd.weight",
        "per_layer_token_embd.weight",
    ]
    readers = [op for op in graph if any(w.name == "per_layer_token_embd.weight" for w in op.weights)]
    assert len(readers) == 1


def test_there_is_no_cap_without_the_hyperparameter_and_no_expert_without_its_tensors() -> None:
    graph = gemma4(changed(final_logit_softcapping=0.0), context=64)
    assert (operations(graph, SoftCap), operations(graph, Experts)) == ([], [])
    assert len(operations(gemma4(EXPERTS.model, context=64), Experts)) == 2


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"attention__shared_kv_layers": 5}, r"gemma4\.attention\.shared_kv_layers is 5, outside 0\.\.4"),
        (
            {"attention__shared_kv_layers": 3},
            r"gemma4\.attention\.shared_kv_layers lets layer 2 read the cache of an earlier layer without a",
        ),
        ({"attention__value_length": 8}, r"gemma4\.attention\.value_length is not 12, the width of the keys"),
        ({"attention__value_length_swa": 4}, r"gemma4\.attention\.value_length_swa is not 8, the width of"),
        ({"rope__dimension_count_swa": 3}, r"gemma4\.rope\.dimension_count_swa is 3, but pairs of elements"),
        ({"attention__sliding_window": 0}, r"gemma4\.attention\.sliding_window is 0"),
    ],
)
def test_a_hyperparameter_that_does_not_fit_is_named(values: dict[str, Any], error: str) -> None:
    with pytest.raises(FormatError, match=error):
        gemma4(changed(**values), context=64)


def test_full_layers_without_divisors_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"rope_freqs\.weight, which the architecture needs, is missing"):
        gemma4(changed(SMALL, {"rope_freqs.weight": None}), context=64)
