"""What a graph gives of a text: the states of its tokens, one of them, or scores of a pair of texts."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import ShapeError, quote
from zigai_core.contracts.graph import Value
from zigai_core.contracts.pooling import PoolKind
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import UnaryKind
from zigai_core.ops.pooling import pooling_kind

LOG = logging.getLogger("zigai.bert")

RANK = 4
"""`pooling_type` of a file whose head scores pairs of texts (llama.cpp, include/llama.h)."""

_POOLED: dict[int, PoolKind] = {1: "mean", 2: "cls"}
"""By `classifier.pooling_type`, what the head is given."""

_HEAD = ("cls.weight", "cls.output.weight")


def outputs(
    g: GraphBuilder,
    x: Value,
    hp: Hyperparameters,
    epsilon: float,
    *,
    activation: UnaryKind = "tanh",
    pooling: PoolKind = "cls",
) -> None:
    """Names the output of the states `x`, `[tokens, width]`: `hidden`, or `scores` of a file with a head.

    Without a head, or if `pooling_type` asks for embeddings, these are pooled; without the key each token has
    its state. `activation` is that of the head, `pooling` what it is given if the file does not say.

    Raises `UnsupportedError` for another kind of pooling, `ShapeError` for tensors of the head that are
    missing or have other shapes, `FormatError` for labels that are not as many as scores.
    """
    number = hp.integer("pooling_type", -1, minimum=-1)
    has_head = any(map(g.has, _HEAD))
    if number == RANK or (number == -1 and has_head):
        _score(g, x, hp, epsilon, activation, pooling)
        return
    kind = pooling_kind(hp)
    g.leave_out("cls.*", f"pooling_type is {number}: the file asks for embeddings, not for scores")
    g.output("hidden", g.pool(x, kind) if kind else g.select(x))


def _score(
    g: GraphBuilder,
    x: Value,
    hp: Hyperparameters,
    epsilon: float,
    activation: UnaryKind,
    pooling: PoolKind,
) -> None:
    """Appends the head: a dense layer with an activation and a norm, which files may lack, and the last one.

    Source: llama.cpp (src/llama-graph.cpp, `build_pooling`); transformers (`BertPooler`,
    `RobertaClassificationHead`, `ModernBertPredictionHead`).
    """
    usual = next(number for number, kind in _POOLED.items() if kind == pooling)
    number = hp.integer("classifier.pooling_type", usual, minimum=-1)
    number = usual if number == -1 else number
    if number not in _POOLED:
        known = " and ".join(f"{key} ({kind})" for key, kind in _POOLED.items())
        raise hp.unsupported("classifier.pooling_type", f"is {number}; supported are {known}")
    h = g.pool(x, _POOLED[number])
    if any(map(g.has, ("cls.weight", "cls.bias", "cls.norm.weight"))):
        h = g.unary(g.linear(h, "cls", x.width), activation, name="cls_act")
        if g.has("cls.norm.weight"):
            h = g.layer_norm(h, "cls.norm", epsilon)
    else:
        LOG.warning(
            "the head has no tensor cls.weight: the scores are those of cls.output alone. If the file was "
            "converted from a BertForSequenceClassification, its pooler was lost: convert the folder with "
            "zig-ai convert"
        )
    count = g.shape("cls.output.weight")[0]
    labels = hp.get("classifier.output_labels", None)
    if labels is not None and (isinstance(labels, str) or not isinstance(labels, Sequence)):
        raise hp.error("classifier.output_labels", f"is {quote(labels)}, but must be an array of texts")
    if labels is not None and len(labels) != count:
        raise ShapeError(
            f"tensor cls.output.weight has {count} rows, but classifier.output_labels {len(labels)} labels"
        )
    g.output("scores", g.linear(h, "cls.output", count))
