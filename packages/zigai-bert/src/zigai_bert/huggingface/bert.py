"""`bert`."""

from __future__ import annotations

import dataclasses

from zigai_bert.huggingface.common import (
    KEYS,
    KEYS_WITHOUT_EFFECT,
    OTHER_HEAD,
    causal,
    old_norms,
    tensors,
    with_head,
)
from zigai_core.contracts.huggingface import HuggingFaceNames

EMBEDDINGS = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}

_BERT = HuggingFaceNames(
    architecture="bert",
    tensors=old_norms(tensors(["", "bert."], EMBEDDINGS, "encoder.layer.{}", LAYER)),
    keys={**KEYS, "layer_norm_eps": "attention.layer_norm_epsilon"},
    required={"hidden_act": ("gelu",), "position_embedding_type": ("absolute", None)},
    keys_without_effect=KEYS_WITHOUT_EFFECT,
    tensors_without_effect={
        "*embeddings.position_ids": "the numbers from 0 on",
        "*pooler.dense.*": OTHER_HEAD,
        "cls.*": OTHER_HEAD,
    },
    computed={"is_decoder": causal},
    defaults={
        "is_decoder": False,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "vocab_size": 30522,
        "layer_norm_eps": 1e-12,
    },
)
BERT = dataclasses.replace(
    _BERT,
    classes={
        "BertForSequenceClassification": with_head(
            _BERT, {"bert.pooler.dense": "cls", "classifier": "cls.output"}, ["*pooler.dense.*"]
        )
    },
)
