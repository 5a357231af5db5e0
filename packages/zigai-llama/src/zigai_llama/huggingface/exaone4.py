"""Names of EXAONE 4 in Hugging Face's folders. Source: transformers (models/exaone4)."""

from __future__ import annotations

from typing import Any

from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.contracts.huggingface_windows import window_if_any, windows_by_layer_types
from zigai_llama.huggingface.common import (
    KEYS,
    KEYS_WITHOUT_EFFECT,
    SILU,
    TENSORS_WITHOUT_EFFECT,
)
from zigai_llama.huggingface.olmo import NORMS_AFTER


def _pattern(kinds: Any, pattern: Any, length: Any) -> dict[str, Any]:
    """Which layers have the window: `layer_types`, or the period `sliding_window_pattern`."""
    if length is None:
        if kinds is not None and "sliding_attention" in kinds:
            raise UnsupportedError("layers of sliding_attention without a sliding_window are not supported")
        return {}
    if kinds is not None:
        return windows_by_layer_types(kinds)
    if type(pattern) is not int or pattern < 1:
        raise UnsupportedError(
            f"sliding_window_pattern {quote(pattern)} without layer_types is not supported"
        )
    return {"attention.sliding_window_pattern": pattern}


EXAONE4 = HuggingFaceNames(
    architecture="exaone4",
    tensors=NORMS_AFTER,
    keys=KEYS,
    required=SILU,
    keys_without_effect=KEYS_WITHOUT_EFFECT,
    tensors_without_effect=TENSORS_WITHOUT_EFFECT,
    computed={
        "sliding_window": window_if_any,
        ("layer_types", "sliding_window_pattern", "sliding_window"): _pattern,
    },
    defaults={  # transformers, Exaone4Config
        "vocab_size": 102400,
        "hidden_size": 4096,
        "intermediate_size": 16384,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
    },
)
