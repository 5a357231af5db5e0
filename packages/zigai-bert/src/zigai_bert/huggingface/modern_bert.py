"""`modernbert`."""

from __future__ import annotations

import dataclasses
from typing import Any

from zigai_bert.huggingface.common import (
    DROPOUT,
    KEYS,
    KEYS_WITHOUT_EFFECT,
    OTHER_HEAD,
    encoder,
    tensors,
    with_head,
)
from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames


def _flags(kinds: Any, period: Any) -> dict[str, Any]:
    """Which layers have the window, from `layer_types`, else from `global_attn_every_n_layers`."""
    if kinds is None:
        if period is None:
            return {}
        if type(period) is not int or period < 1:
            raise ValueError("global_attn_every_n_layers must be a whole number above 0")
        return {"attention.sliding_window_pattern": period}
    if not isinstance(kinds, list):
        raise ValueError("layer_types must be an array")
    known = {"full_attention": False, "sliding_attention": True}
    unknown = [kind for kind in kinds if not isinstance(kind, str) or kind not in known]
    if unknown:
        raise UnsupportedError(f"layers of {quote(unknown[0])} are not supported")
    return {"attention.sliding_window_pattern": [known[kind] for kind in kinds]}


def _base(value: Any, parameters: Any) -> dict[str, float]:
    """RoPE's base of layers without a window, of transformers 4; one in `rope_parameters` comes before it."""
    full = parameters.get("full_attention") if isinstance(parameters, dict) else None
    if value is None or (isinstance(full, dict) and full.get("rope_theta") is not None):
        return {}
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value < 1e30:
        raise ValueError("a base of RoPE must be a number of 1 or more")
    return {"rope.freq_base": float(value)}


def _pooling(kind: Any) -> dict[str, int]:
    """What the head is given: the state of the first token, or the mean of all."""
    known = {"mean": 1, "cls": 2}
    if not isinstance(kind, str) or kind not in known:
        raise UnsupportedError(f"{quote(kind)} is not supported; {' and '.join(known)} are")
    return {"classifier.pooling_type": known[kind]}


_MODERNBERT = HuggingFaceNames(
    architecture="modern-bert",
    tensors=tensors(
        ["", "model."],
        {
            "embeddings.tok_embeddings": "token_embd",
            "embeddings.norm": "token_embd_norm",
            "final_norm": "output_norm",
        },
        "layers.{}",
        {
            "attn_norm": "attn_norm",
            "attn.Wqkv": "attn_qkv",
            "attn.Wo": "attn_output",
            "mlp_norm": "ffn_norm",
            "mlp.Wi": "ffn_up",
            "mlp.Wo": "ffn_down",
        },
        ["weight"],
    ),
    keys={
        **KEYS,
        "norm_eps": "attention.layer_norm_epsilon",
        "local_attention": "attention.sliding_window",
        "hidden_activation": "hidden_activation",
        "local_rope_theta": "rope.freq_base_swa",
    },
    required={
        "position_embedding_type": ("absolute", "sans_pos", None),
        **dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias"), (False,)),  # no model has them
    },
    keys_without_effect={
        **KEYS_WITHOUT_EFFECT,
        **dict.fromkeys(("attention_dropout", "embedding_dropout", "mlp_dropout"), DROPOUT),
        **dict.fromkeys(
            (
                "classifier_activation",
                "classifier_bias",
                "classifier_pooling",
                "decoder_bias",
                "sparse_pred_ignore_index",
                "sparse_prediction",
            ),
            OTHER_HEAD,
        ),
        "initializer_cutoff_factor": "of random weights, for training",
        "cls_token_id": "read from the tokenizer",
        "deterministic_flash_attn": "how transformers computes",
        "reference_compile": "how transformers computes",
        "repad_logits_with_grad": "how transformers computes",
        "layer_norm_eps": "transformers reads norm_eps",
    },
    tensors_without_effect={"head.*": OTHER_HEAD, "decoder.*": OTHER_HEAD},
    computed={
        "num_attention_heads": encoder,
        ("layer_types", "global_attn_every_n_layers"): _flags,
        ("global_rope_theta", "rope_parameters"): _base,
    },
    defaults={
        "hidden_size": 768,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "intermediate_size": 1152,
        "max_position_embeddings": 8192,
        "vocab_size": 50368,
        "norm_eps": 1e-5,
        "local_attention": 128,
        "hidden_activation": "gelu",
        "global_rope_theta": 160000.0,
    },
)
_HEAD = with_head(
    _MODERNBERT,
    {"head.dense": "cls", "head.norm": "cls.norm", "classifier": "cls.output"},
    ["head.*"],
    required={**_MODERNBERT.required, "classifier_activation": ("gelu",)},
    defaults={**_MODERNBERT.defaults, "classifier_pooling": "cls"},
)
MODERNBERT = dataclasses.replace(
    _MODERNBERT,
    classes={
        "ModernBertForSequenceClassification": dataclasses.replace(
            _HEAD,
            computed={**_HEAD.computed, "classifier_pooling": _pooling},
            keys_without_effect={
                key: why
                for key, why in _HEAD.keys_without_effect.items()
                if key not in ("classifier_activation", "classifier_pooling")
            },
        )
    },
)
