"""Names of OLMo 2 and Olmo 3 in Hugging Face's folders. Source: transformers (models/olmo2, models/olmo3)."""

from __future__ import annotations

import dataclasses
from typing import Any

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.contracts.huggingface_windows import window_if_any, windows_by_layer_types
from zigai_llama.huggingface.common import (
    BIASES,
    KEYS,
    KEYS_WITHOUT_EFFECT,
    LAYER,
    SILU,
    TENSORS,
    TENSORS_WITHOUT_EFFECT,
)

NORMS_AFTER = {
    **{name: ours for name, ours in TENSORS.items() if "layernorm" not in name},
    f"{LAYER}post_attention_layernorm.weight": "blk.{}.post_attention_norm.weight",
    f"{LAYER}post_feedforward_layernorm.weight": "blk.{}.post_ffw_norm.weight",
    f"{LAYER}self_attn.q_norm.weight": "blk.{}.attn_q_norm.weight",
    f"{LAYER}self_attn.k_norm.weight": "blk.{}.attn_k_norm.weight",
}
"""Tensors of a decoder with norms after its blocks, and of queries and keys."""

OLMO2 = HuggingFaceNames(
    architecture="olmo2",
    tensors={**NORMS_AFTER, **{name: ours for name, ours in BIASES.items() if "self_attn" in name}},
    keys=KEYS,
    required=SILU,
    keys_without_effect=KEYS_WITHOUT_EFFECT,
    tensors_without_effect=TENSORS_WITHOUT_EFFECT,
    defaults={  # transformers, Olmo2Config
        "vocab_size": 50304,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
    },
)


def _by_kind(settings: Any) -> dict[str, Any]:
    """Refuses settings of RoPE that are not by kinds of layers, which transformers leaves unread."""
    if (
        isinstance(settings, dict)
        and settings
        and not settings.keys() & {"full_attention", "sliding_attention"}
    ):
        raise UnsupportedError("settings without full_attention or sliding_attention are not supported")
    return {}


OLMO3 = dataclasses.replace(
    OLMO2,
    computed={
        "sliding_window": window_if_any,
        "layer_types": windows_by_layer_types,
        "rope_parameters": _by_kind,
    },
    defaults={**OLMO2.defaults, "rope_theta": 500000.0, "sliding_window": 4096},  # Olmo3Config
)
