"""What depends on the context or on a damaged file, which no oracle has."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_bert import bert, modern_bert, nomic_bert
from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.ops.operations import Attention, GatedActivation, Rope
from zigai_core.testing.oracles import Oracle, float_tensor

ORACLES = Path(__file__).parent / "oracles"
BERT, NOMIC, MODERN = (
    Oracle.load(ORACLES / f"{name}.npz").model for name in ("bert", "nomic-bert", "modern-bert")
)
MEMBERS = [(bert, BERT), (nomic_bert, NOMIC), (modern_bert, MODERN)]


def changed(model: ModelDescriptor, **values: Any) -> ModelDescriptor:
    return dataclasses.replace(model, hyperparameters=model.hyperparameters.replaced(**values))


def windows(graph: Graph) -> list[int | None]:
    return [operation.window for operation in graph if isinstance(operation, Attention)]


@pytest.mark.parametrize(("architecture", "model"), MEMBERS)
def test_causal_attention_is_refused(architecture: Any, model: ModelDescriptor) -> None:
    with pytest.raises(UnsupportedError, match=r"attention\.causal is true, but here all tokens"):
        architecture(changed(model, attention__causal=True), context=64)


@pytest.mark.parametrize(("architecture", "model"), MEMBERS)
@pytest.mark.parametrize("kind", [5, 99])
def test_another_pooling_is_refused(architecture: Any, model: ModelDescriptor, kind: int) -> None:
    with pytest.raises(UnsupportedError, match=rf"pooling_type is {kind}; supported are -1, 0, 1, 2, 3"):
        architecture(changed(model, pooling_type=kind), context=64)


@pytest.mark.parametrize(("architecture", "model"), MEMBERS)
def test_attention_has_no_cache_and_pooling_is_that_of_the_file(
    architecture: Any, model: ModelDescriptor
) -> None:
    for number, kind in ((-1, None), (0, None), (1, "mean"), (2, "cls"), (3, "last")):
        graph = architecture(changed(model, pooling_type=number), context=64)
        assert (graph.pooling, graph.states) == (kind, ())


def test_a_context_beyond_the_positions_of_bert_is_refused() -> None:
    assert bert(BERT, context=128).position_limit == 128
    with pytest.raises(
        UnsupportedError, match=r"context 129 is more than the 128 positions of position_embd"
    ):
        bert(BERT, context=129)


def test_types_of_a_single_row_may_be_a_vector() -> None:
    """As some converters store a matrix of one row."""
    name = "token_types.weight"
    table = BERT.tensors[name].to_float32()
    vector = dataclasses.replace(BERT, tensors={**BERT.tensors, name: float_tensor(name, table[0])})
    assert (bert(vector, context=64).type_limit, bert(BERT, context=64).type_limit) == (1, 2)
    assert [type(op) for op in bert(vector, context=64)] == [type(op) for op in bert(BERT, context=64)]


HEADED = [
    (bert, Oracle.load(ORACLES / "bert-scores.npz").model, "cls"),
    (modern_bert, Oracle.load(ORACLES / "modern-bert-scores-mean.npz").model, "mean"),
]


def without(model: ModelDescriptor, *keys: str, tensors: Sequence[str] = ()) -> ModelDescriptor:
    values = {key: value for key, value in model.hyperparameters.items() if key not in keys}
    kept = {name: tensor for name, tensor in model.tensors.items() if name not in tensors}
    hp = Hyperparameters(values, prefix=model.architecture)
    return dataclasses.replace(model, hyperparameters=hp, tensors=kept)


@pytest.mark.parametrize(("architecture", "model", "pooling"), HEADED)
def test_a_file_with_a_head_and_no_pooling_scores_as_files_of_llama_cpps_converter_do(
    architecture: Any, model: ModelDescriptor, pooling: str
) -> None:
    keys = ("pooling_type", "classifier.pooling_type", "classifier.output_labels")
    for file in (without(model, *keys), changed(without(model, *keys), pooling_type=-1)):
        graph = architecture(file, context=64)
        assert ([*graph.outputs], graph.pooling) == (["scores"], pooling)


@pytest.mark.parametrize(("architecture", "model", "_"), HEADED)
@pytest.mark.parametrize(("number", "kind"), [(1, "mean"), (2, "cls"), (3, "last"), (0, None)])
def test_a_file_that_asks_for_embeddings_leaves_its_head_out_with_a_reason(
    architecture: Any, model: ModelDescriptor, _: str, number: int, kind: str | None
) -> None:
    graph = architecture(changed(model, pooling_type=number), context=64)
    assert ([*graph.outputs], graph.pooling) == (["hidden"], kind)
    assert f"pooling_type is {number}: the file asks for embeddings" in graph.left_out["cls.*"]


@pytest.mark.parametrize(("number", "kind"), [(1, "mean"), (2, "cls")])
def test_what_the_head_is_given_is_that_of_the_file(number: int, kind: str) -> None:
    for architecture, model, _ in HEADED:
        graph = architecture(changed(model, classifier__pooling_type=number), context=64)
        assert graph.pooling == kind
        with pytest.raises(
            UnsupportedError, match=r"classifier\.pooling_type is 3; supported are 1 \(mean\)"
        ):
            architecture(changed(model, classifier__pooling_type=3), context=64)


def test_a_head_without_its_first_layer_is_served_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """As llama.cpp's converter writes a BertForSequenceClassification, whose pooler it drops."""
    _, model, _ = HEADED[0]
    graph = bert(without(model, tensors=("cls.weight", "cls.bias")), context=64)
    assert [weight.name for weight in graph.weights if weight.name.startswith("cls")] == [
        "cls.output.weight",
        "cls.output.bias",
    ]
    assert "its pooler was lost: convert the folder with zig-ai convert" in caplog.text
    caplog.clear()
    bert(model, context=64)
    assert not caplog.text


def test_a_head_that_is_missing_and_labels_that_do_not_fit_are_errors() -> None:
    with pytest.raises(ShapeError, match=r"cls\.output\.weight, which the architecture needs, is missing"):
        bert(changed(BERT, pooling_type=4), context=64)
    _, model, _ = HEADED[0]
    with pytest.raises(ShapeError, match=r"cls\.output\.weight has 3 rows, but .*output_labels 2 labels"):
        bert(changed(model, classifier__output_labels=["a", "b"]), context=64)
    for wrong in ("abc", 3):
        with pytest.raises(FormatError, match=r"classifier\.output_labels is .*, but must be an array"):
            bert(changed(model, classifier__output_labels=wrong), context=64)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (3, [None, 5, 5, None, 5]),
        (2, [None, 5, None, 5, None]),
        (1, [None] * 5),
        (0, [5] * 5),
        ([True, False, True, True, False], [5, None, 5, 5, None]),
        (np.array([0, 1, 0, 0, 1]), [None, 5, None, None, 5]),
    ],
)
def test_the_pattern_of_windows_is_a_period_or_a_flag_for_each_layer(pattern: Any, expected: Any) -> None:
    """Of 8 tokens a window has 4 to each side, and the token itself."""
    model = changed(MODERN, attention__sliding_window_pattern=pattern)
    graph = modern_bert(model, context=64)
    assert windows(graph) == expected
    bases = [float(op.frequencies[1]) for op in graph if isinstance(op, Rope)][::2]
    local, full = 50.0**-0.25, 5000.0**-0.25
    np.testing.assert_allclose(bases, [local if window else full for window in expected], rtol=1e-6)


def test_without_a_window_all_layers_are_full() -> None:
    assert windows(modern_bert(changed(MODERN, attention__sliding_window=0), context=64)) == [None] * 5


@pytest.mark.parametrize("pattern", [[True], [True, False, 2, 0, 1], ["a"] * 5, np.zeros((5, 2)), [0.0] * 5])
def test_flags_that_do_not_fit_the_layers_are_an_error(pattern: Any) -> None:
    with pytest.raises(
        FormatError, match=r"sliding_window_pattern is .*must hold true or false for 5 layers"
    ):
        modern_bert(changed(MODERN, attention__sliding_window_pattern=pattern), context=64)


@pytest.mark.parametrize(("act", "expected"), [("gelu", "gelu"), ("silu", "silu"), ("swiglu", "silu")])
def test_the_activation_is_that_of_the_file(act: str, expected: str) -> None:
    graph = modern_bert(changed(MODERN, hidden_activation=act), context=64)
    assert {op.activation for op in graph if isinstance(op, GatedActivation)} == {expected}


def test_another_activation_is_refused() -> None:
    with pytest.raises(
        UnsupportedError, match="hidden_activation is 'relu'; supported are gelu, geglu, silu"
    ):
        modern_bert(changed(MODERN, hidden_activation="relu"), context=64)


def test_a_base_of_windows_that_turns_nothing_is_an_error() -> None:
    with pytest.raises(FormatError, match=r"rope\.freq_base_swa is 1\.0, but must be 1\.001 or more"):
        modern_bert(changed(MODERN, rope__freq_base_swa=1.0), context=64)
