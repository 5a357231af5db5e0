"""`roberta` and `xlm-roberta`: BERT whose positions begin after that of padding."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from zigai_bert.huggingface.bert import EMBEDDINGS, LAYER
from zigai_bert.huggingface.common import (
    KEYS,
    KEYS_WITHOUT_EFFECT,
    OTHER_HEAD,
    causal,
    old_norms,
    tensors,
    with_head,
)
from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart

PADDING = 1
"""`pad_token_id`, which also says where positions begin."""


def _context(positions: Any) -> dict[str, int]:
    """The positions of tokens, which begin after that of padding."""
    if type(positions) is not int or positions <= PADDING + 1:
        raise ValueError(f"it must be a whole number above {PADDING + 1}: the first rows are for padding")
    return {"context_length": positions - PADDING - 1}


def _rows(table: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The embeddings of these positions, with that of the first token first, as GGUF has them."""
    return table[PADDING + 1 :]


_SINGLE = {theirs: ours for theirs, ours in EMBEDDINGS.items() if ours != "position_embd"}
_ROBERTA = HuggingFaceNames(
    architecture="bert",
    tensors=old_norms(tensors(["", "roberta."], _SINGLE, "encoder.layer.{}", LAYER)),
    parts={
        f"{prefix}embeddings.position_embeddings.weight": [TensorPart("position_embd.weight", _rows)]
        for prefix in ("", "roberta.")
    },
    keys={
        **{key: ours for key, ours in KEYS.items() if key != "max_position_embeddings"},
        "layer_norm_eps": "attention.layer_norm_epsilon",
    },
    required={
        "hidden_act": ("gelu",),
        "position_embedding_type": ("absolute", None),
        "pad_token_id": (PADDING,),
    },
    keys_without_effect=KEYS_WITHOUT_EFFECT,
    tensors_without_effect={
        "*embeddings.position_ids": "the numbers from 0 on",
        "*pooler.dense.*": OTHER_HEAD,
        "lm_head.*": OTHER_HEAD,
    },
    computed={"is_decoder": causal, "max_position_embeddings": _context},
    defaults={
        "is_decoder": False,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "vocab_size": 50265,
        "layer_norm_eps": 1e-12,
    },
)
_HEAD = with_head(_ROBERTA, {"classifier.dense": "cls", "classifier.out_proj": "cls.output"})
ROBERTA = dataclasses.replace(_ROBERTA, classes={"RobertaForSequenceClassification": _HEAD})
_XLM_DEFAULTS = {**_ROBERTA.defaults, "vocab_size": 30522}
XLM_ROBERTA = dataclasses.replace(
    _ROBERTA,
    defaults=_XLM_DEFAULTS,
    classes={"XLMRobertaForSequenceClassification": dataclasses.replace(_HEAD, defaults=_XLM_DEFAULTS)},
)
