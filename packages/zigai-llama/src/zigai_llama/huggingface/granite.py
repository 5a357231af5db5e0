"""Names of Granite in Hugging Face's folders. Source: transformers (models/granite)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_llama.huggingface.common import (
    BIASES,
    KEYS,
    KEYS_WITHOUT_EFFECT,
    SILU,
    TENSORS,
    TENSORS_WITHOUT_EFFECT,
)


def _factor(name: str) -> Callable[[Any], dict[str, float]]:
    """The function that gives the scale `name` from its key."""

    def factor(value: Any) -> dict[str, float]:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
            raise ValueError("it must be a number above 0")
        return {name: float(value)}

    return factor


GRANITE = HuggingFaceNames(
    architecture="granite",
    tensors={**TENSORS, **BIASES},
    keys=KEYS,
    required=SILU,
    keys_without_effect=KEYS_WITHOUT_EFFECT,
    tensors_without_effect=TENSORS_WITHOUT_EFFECT,
    computed={
        "embedding_multiplier": _factor("embedding_scale"),
        "residual_multiplier": _factor("residual_scale"),
        "attention_multiplier": _factor("attention.scale"),
        "logits_scaling": _factor("logit_scale"),
    },
    defaults={  # transformers, GraniteConfig
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "embedding_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "attention_multiplier": 1.0,
        "logits_scaling": 1.0,
    },
)
