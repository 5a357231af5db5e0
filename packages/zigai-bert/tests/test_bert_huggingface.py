"""What the names of the family compute from config.json, and what they refuse."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest

from zigai_bert.huggingface import BERT, MODERNBERT, NOMIC_BERT, ROBERTA, XLM_ROBERTA
from zigai_bert.huggingface.common import labels
from zigai_core.contracts.errors import UnsupportedError

FLAGS = MODERNBERT.computed[("layer_types", "global_attn_every_n_layers")]
BASE = MODERNBERT.computed[("global_rope_theta", "rope_parameters")]
POSITIONS = NOMIC_BERT.computed[("n_positions", "max_trained_positions")]
PATTERN = "attention.sliding_window_pattern"


def test_norms_of_old_checkpoints_have_the_names_of_tensorflow() -> None:
    for prefix in ("", "bert."):
        for theirs, ours in (("weight", "weight"), ("gamma", "weight"), ("bias", "bias"), ("beta", "bias")):
            name = f"{prefix}encoder.layer.{{}}.output.LayerNorm.{theirs}"
            assert BERT.tensors[name] == f"blk.{{}}.layer_output_norm.{ours}"


def test_a_decoder_is_causal_which_the_graph_refuses() -> None:
    causal = BERT.computed["is_decoder"]
    assert (causal(True), causal(False)) == ({"attention.causal": True}, {"attention.causal": False})
    with pytest.raises(ValueError, match="must be true or false"):
        causal("no")


def test_layers_with_a_window_are_named_or_counted() -> None:
    assert FLAGS(None, 4) == {PATTERN: 4}
    assert FLAGS(["full_attention", "sliding_attention"], 4) == {PATTERN: [False, True]}
    assert FLAGS(None, None) == {}
    with pytest.raises(UnsupportedError, match="layers of 'chunked_attention' are not supported"):
        FLAGS(["chunked_attention"], None)
    with pytest.raises(UnsupportedError, match="layers of None are not supported"):
        FLAGS([None, "full_attention"], None)
    for kinds, period in ((None, 0), (None, True), (None, "3"), ("full_attention", None)):
        with pytest.raises(ValueError, match="must be"):
            FLAGS(kinds, period)


def test_the_base_in_rope_parameters_comes_before_that_of_transformers_4() -> None:
    assert BASE(160000, None) == BASE(160000.0, {"full_attention": {}}) == {"rope.freq_base": 160000.0}
    assert BASE(160000.0, {"full_attention": {"rope_theta": 5.0}}) == BASE(None, None) == {}
    for value in (True, 0, -1, 1e30, "x"):
        with pytest.raises(ValueError, match="a base of RoPE must be a number of 1 or more"):
            BASE(value, None)


def test_the_first_checkpoints_of_nomic_bert_have_other_names_and_keys() -> None:
    """nomic-ai/nomic-embed-text-v1.5, config.json and model.safetensors."""
    assert NOMIC_BERT.tensors["encoder.layers.{}.attn.Wqkv.weight"] == "blk.{}.attn_qkv.weight"
    assert NOMIC_BERT.tensors["encoder.layers.{}.mlp.fc11.weight"] == "blk.{}.ffn_up.weight"
    assert NOMIC_BERT.tensors["encoder.layers.{}.mlp.fc12.weight"] == "blk.{}.ffn_gate.weight"
    assert NOMIC_BERT.tensors["emb_ln.bias"] == "token_embd_norm.bias"
    assert NOMIC_BERT.keys["n_inner"] == "feed_forward_length"
    assert POSITIONS(8192, 2048) == {"context_length": 2048}
    assert (POSITIONS(512, None), POSITIONS(None, None)) == ({"context_length": 512}, {})
    assert NOMIC_BERT.computed["rotary_emb_base", "rope_theta"](10, 1000.0) == {"rope.freq_base": 10.0}


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "8192"])
def test_positions_that_are_no_number_are_an_error(value: Any) -> None:
    with pytest.raises(ValueError, match="must be whole numbers above 0"):
        POSITIONS(value, 2048)


def test_labels_are_in_the_order_of_their_numbers() -> None:
    many = {str(number): f"L{number}" for number in range(12)}
    found = labels(["X"], dict(sorted(many.items())))
    assert found == {"pooling_type": 4, "classifier.output_labels": [f"L{number}" for number in range(12)]}
    assert labels(["X"], None) == labels(["X"], {}) == {"pooling_type": 4}
    for wrong in ({"0": "a", "2": "b"}, {"a": "b"}, ["a"], {"0": 3}):
        with pytest.raises(ValueError, match="id2label must"):
            labels(["X"], wrong)


@pytest.mark.parametrize("names", [ROBERTA, XLM_ROBERTA])
def test_positions_of_roberta_begin_after_that_of_padding(names: Any) -> None:
    context = names.computed["max_position_embeddings"]
    assert context(514) == {"context_length": 512}
    for wrong in (2, 0, -1, True, "514", 5.0):
        with pytest.raises(ValueError, match="must be a whole number above 2"):
            context(wrong)
    [part] = names.parts["roberta.embeddings.position_embeddings.weight"]
    assert part.change(np.arange(10).reshape(5, 2)).tolist() == [[4, 5], [6, 7], [8, 9]]
    assert names.required["pad_token_id"] == (1,)


@pytest.mark.parametrize(
    ("names", "head", "theirs"),
    [
        (BERT, "BertForSequenceClassification", ["bert.pooler.dense", "classifier"]),
        (ROBERTA, "RobertaForSequenceClassification", ["classifier.dense", "classifier.out_proj"]),
        (XLM_ROBERTA, "XLMRobertaForSequenceClassification", ["classifier.dense", "classifier.out_proj"]),
        (MODERNBERT, "ModernBertForSequenceClassification", ["head.dense", "classifier"]),
    ],
)
def test_a_head_is_named_for_its_class_and_left_out_or_unknown_for_others(
    names: Any, head: str, theirs: list[str]
) -> None:
    for module, ours in zip(theirs, ("cls", "cls.output"), strict=True):
        for kind in ("weight", "bias"):
            name = f"{module}.{kind}"
            assert names.classes[head].tensors[name] == f"{ours}.{kind}"
            assert name not in names.tensors
            assert not any(fnmatchcase(name, each) for each in names.classes[head].tensors_without_effect)


def test_the_pooling_of_a_head_of_modern_bert_is_named() -> None:
    pooling = MODERNBERT.classes["ModernBertForSequenceClassification"].computed["classifier_pooling"]
    assert [pooling(kind) for kind in ("mean", "cls")] == [{"classifier.pooling_type": n} for n in (1, 2)]
    with pytest.raises(UnsupportedError, match="'max' is not supported; mean and cls are"):
        pooling("max")
