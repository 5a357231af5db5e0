"""What the names of the family's members share.

Source: transformers (models/bert, roberta, xlm_roberta, nomic_bert, modernbert, and conversion_mapping.py for
older checkpoints of Nomic BERT), whose modules and configuration keys are named here and beside this file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from zigai_bert.outputs import RANK
from zigai_core.contracts.huggingface import HuggingFaceNames

OTHER_HEAD = "of a head for another task"
DROPOUT = "dropout is for training"
KEYS = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
}
KEYS_WITHOUT_EFFECT = {
    "initializer_range": "of random weights, for training",
    "hidden_dropout_prob": DROPOUT,
    "attention_probs_dropout_prob": DROPOUT,
    "classifier_dropout": DROPOUT,
    "type_vocab_size": "the rows of the embedding of types",
}


def tensors(
    prefixes: Sequence[str],
    single: Mapping[str, str],
    layers: str,
    parts: Mapping[str, str],
    kinds: Sequence[str] = ("weight", "bias"),
) -> dict[str, str]:
    """The names of weights and biases, or of one of these `kinds`, under each of `prefixes`.

    `layers` is the name of a layer.
    """
    found: dict[str, str] = {}
    for prefix in prefixes:
        for kind in kinds:
            found |= {f"{prefix}{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in single.items()}
            found |= {
                f"{prefix}{layers}.{theirs}.{kind}": f"blk.{{}}.{ours}.{kind}"
                for theirs, ours in parts.items()
            }
    return found


def old_norms(tensors: Mapping[str, str]) -> dict[str, str]:
    """The names that norms have in checkpoints of TensorFlow, too: gamma and beta."""
    found = dict(tensors)
    for theirs, ours in tensors.items():
        if theirs.endswith("LayerNorm.weight"):
            found[theirs.removesuffix("weight") + "gamma"] = ours
        if theirs.endswith("LayerNorm.bias"):
            found[theirs.removesuffix("bias") + "beta"] = ours
    return found


def causal(value: Any) -> dict[str, bool]:
    """`attention.causal` from `is_decoder`, so that GGUF files say that there is none."""
    if not isinstance(value, bool):
        raise ValueError("it must be true or false")
    return {"attention.causal": value}


def encoder(heads: Any) -> dict[str, bool]:
    """`attention.causal`, which GGUF files of encoders need; of a key that is always there."""
    return {"attention.causal": False}


def labels(classes: Any, names: Any) -> dict[str, Any]:
    """`pooling_type` of a model whose head scores pairs of texts, and its labels from `id2label`.

    `classes` is `architectures`, by which the names of this head were chosen.
    """
    if names is None:
        return {"pooling_type": RANK}
    if not isinstance(names, dict) or {*names} != {str(number) for number in range(len(names))}:
        raise ValueError("id2label must name the labels from 0 on")
    ordered = [names[str(number)] for number in range(len(names))]
    if not all(isinstance(name, str) for name in ordered):
        raise ValueError("id2label must hold texts")
    return {"pooling_type": RANK, "classifier.output_labels": ordered} if ordered else {"pooling_type": RANK}


def with_head(
    names: HuggingFaceNames,
    modules: Mapping[str, str],
    left_out: Sequence[str] = (),
    **changes: Any,
) -> HuggingFaceNames:
    """Returns the names of the same model with a head that scores pairs of texts.

    `modules`: GGUF's names by those of the head's modules. `left_out`: patterns of tensors that `names`
    leaves out and the head has.
    """
    kinds = ("weight", "bias")
    parts = {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in modules.items() for kind in kinds}
    known = {key: why for key, why in names.tensors_without_effect.items() if key not in left_out}
    fields: dict[str, Any] = {
        "tensors": {**names.tensors, **parts},
        "tensors_without_effect": known,
        "keys_without_effect": {**names.keys_without_effect, **_OF_SCORES},
        "computed": {**names.computed, ("architectures", "id2label"): labels},
    }
    return dataclasses.replace(names, **{**fields, **changes})


_OF_SCORES = dict.fromkeys(
    ("sentence_transformers", "sbert_ce_default_activation_function"),
    "what sentence-transformers does with scores, which are raw here",
)
