"""Names of the family's parts in Hugging Face's folders, by `model_type`.

Source: transformers (models/gemma, gemma2, gemma3), whose modules and configuration keys are named here.
Norms are stored minus one there (`GemmaRMSNorm`), and configurations leave out values that are the default of
their class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.contracts.huggingface_windows import window_of_some_layers, windows_by_layer_types

_PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "input_layernorm": "attn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_POST_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_BIASED = ("attn_q", "attn_k", "attn_v", "attn_output")


def _tensors(prefixes: Sequence[str], heads: Sequence[str], more: Mapping[str, str]) -> dict[str, str]:
    """The names of tensors: the modules of a model under each of `prefixes`, and its head's names."""
    found = dict.fromkeys(heads, "output.weight")
    for prefix in prefixes:
        found |= {
            f"{prefix}embed_tokens.weight": "token_embd.weight",
            f"{prefix}norm.weight": "output_norm.weight",
        }
        for theirs, ours in {**_PARTS, **more}.items():
            for kind in ("weight", "bias") if ours in _BIASED else ("weight",):
                found[f"{prefix}layers.{{}}.{theirs}.{kind}"] = f"blk.{{}}.{ours}.{kind}"
    return found


def _scale(value: Any) -> dict[str, float]:
    """The factor of scores from `query_pre_attn_scalar`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
        raise ValueError("it must be a number above 0")
    return {"attention.scale": value**-0.5}


def cap(name: str, *, default: bool = False) -> Callable[[Any], dict[str, float]]:
    """The function that gives the soft cap `name` from its key, none if the value is null.

    `default`: whether the architecture has a cap without the hyperparameter, so that none is written as 0.
    """

    def cap(value: Any) -> dict[str, float]:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and 0 < value < 1e30):
            raise ValueError("it must be a number above 0, or null for no cap")
        if value is None:
            return {name: 0.0} if default else {}
        return {name: float(value)}

    return cap


_NORMS = {"*norm.weight": 1.0}
_KEYS = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
_TANH = "gelu_pytorch_tanh"
_REQUIRED = {
    "hidden_act": (_TANH, "gelu"),  # "gelu" of old files means the same: transformers, GemmaConfig
    "hidden_activation": (_TANH, None),
    "use_bidirectional_attention": (None, False),
}
_KEYS_WITHOUT_EFFECT = {
    "attention_bias": "biases are read if the folder has them",
    "attention_dropout": "dropout is for training",
    "cache_implementation": "of transformers' cache",
    "initializer_range": "of random weights, for training",
}
_DEFAULTS = {
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 8192,
    "vocab_size": 256000,
    "tie_word_embeddings": True,
}

GEMMA = HuggingFaceNames(
    architecture="gemma",
    tensors=_tensors(["model."], ["lm_head.weight"], {"post_attention_layernorm": "ffn_norm"}),
    keys=_KEYS,
    required=_REQUIRED,
    keys_without_effect=_KEYS_WITHOUT_EFFECT,
    added=_NORMS,
    defaults={**_DEFAULTS, "num_attention_heads": 16, "num_key_value_heads": 16},
)
GEMMA2 = HuggingFaceNames(
    architecture="gemma2",
    tensors=_tensors(["model."], ["lm_head.weight"], _POST_NORMS),
    keys={**_KEYS, "sliding_window": "attention.sliding_window"},
    required=_REQUIRED,
    keys_without_effect={**_KEYS_WITHOUT_EFFECT, "sliding_window_size": "transformers reads sliding_window"},
    added=_NORMS,
    computed={
        "query_pre_attn_scalar": _scale,
        "layer_types": windows_by_layer_types,
        "sliding_window": window_of_some_layers,
        "attn_logit_softcapping": cap("attn_logit_softcapping", default=True),
        "final_logit_softcapping": cap("final_logit_softcapping", default=True),
    },
    defaults={
        **_DEFAULTS,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
)
_GEMMA3 = HuggingFaceNames(
    architecture="gemma3",
    tensors=_tensors(["model.", ""], ["lm_head.weight"], {**_POST_NORMS, **_HEAD_NORMS}),
    keys={
        **_KEYS,
        "sliding_window_pattern": "attention.sliding_window_pattern",
        "rope_local_base_freq": "rope.freq_base_swa",
        "sliding_window": "attention.sliding_window",
        "final_logit_softcapping": "final_logit_softcapping",
    },
    required={**_REQUIRED, "attn_logit_softcapping": (None,)},
    keys_without_effect={
        **_KEYS_WITHOUT_EFFECT,
        "_sliding_window_pattern": "transformers reads layer_types and sliding_window_pattern",
    },
    added=_NORMS,
    computed={
        "query_pre_attn_scalar": _scale,
        "sliding_window": window_of_some_layers,
        "layer_types": windows_by_layer_types,
        "final_logit_softcapping": cap("final_logit_softcapping"),
    },
    defaults={
        **_DEFAULTS,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "max_position_embeddings": 131072,
        "vocab_size": 262208,
        "rope_theta": 1e6,
    },
)
_NO_LOGITS = "there are no logits"
_EMBEDDING = dataclasses.replace(
    _GEMMA3,
    architecture="gemma-embedding",
    tensors={
        **_tensors(["model.", ""], [], {**_POST_NORMS, **_HEAD_NORMS}),
        "2_Dense.linear.weight": "dense_2.weight",
        "3_Dense.linear.weight": "dense_3.weight",
    },
    keys={key: name for key, name in _GEMMA3.keys.items() if key != "final_logit_softcapping"},
    computed={key: each for key, each in _GEMMA3.computed.items() if key != "final_logit_softcapping"},
    required={**_GEMMA3.required, "use_bidirectional_attention": (True,)},
    keys_without_effect={**_GEMMA3.keys_without_effect, "final_logit_softcapping": _NO_LOGITS},
    tensors_without_effect={"lm_head.*": _NO_LOGITS},
)
"""EmbeddingGemma; its window is that of the file, not the half that transformers makes of it."""
GEMMA3_TEXT = dataclasses.replace(_GEMMA3, variants={"use_bidirectional_attention": _EMBEDDING})
_IMAGES = "images are not supported, texts are"
GEMMA3 = dataclasses.replace(
    _GEMMA3,
    tensors=_tensors(
        ["language_model.model.", "model.language_model."],
        ["lm_head.weight", "language_model.lm_head.weight"],
        {**_POST_NORMS, **_HEAD_NORMS},
    ),
    keys_without_effect={
        **_GEMMA3.keys_without_effect,
        "vision_config": _IMAGES,
        "mm_tokens_per_image": _IMAGES,
        "boi_token_index": _IMAGES,
        "eoi_token_index": _IMAGES,
        "image_token_index": _IMAGES,
    },
    unsupported_tensors={
        f"{prefix}{part}*": _IMAGES
        for prefix in ("", "model.")
        for part in ("vision_tower.", "multi_modal_projector.")
    },
    section="text_config",
)
"""Gemma 3 from 4B on, whose texts are one part of a model of texts and images."""
