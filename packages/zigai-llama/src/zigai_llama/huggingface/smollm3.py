"""Names of SmolLM3 in Hugging Face's folders. Source: transformers (models/smollm3)."""

from __future__ import annotations

from typing import Any

from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_llama.huggingface.common import (
    BIASES,
    KEYS,
    KEYS_WITHOUT_EFFECT,
    SILU,
    TENSORS,
    TENSORS_WITHOUT_EFFECT,
)
from zigai_llama.smollm3 import INTERVAL


def rotated(flags: Any, interval: Any, layers: Any) -> dict[str, Any]:
    """Checks that every fourth layer has no RoPE: files of GGUF have no key that could say more."""
    if flags is None:
        if interval not in (None, INTERVAL):
            raise UnsupportedError(f"only every layer {INTERVAL} without RoPE is supported")
        return {}
    if not isinstance(flags, list) or type(layers) is not int:
        raise ValueError("it must be an array, with a number for each layer")
    if len(flags) < layers:
        raise ValueError(f"it has {len(flags)} numbers for {layers} layers")
    for layer, flag in enumerate(flags[:layers]):
        if flag not in (0, 1):
            raise ValueError(f"{quote(flag)} of layer {layer} is neither 0 nor 1")
        if bool(flag) != bool((layer + 1) % INTERVAL):
            raise UnsupportedError(
                f"{quote(flag)} of layer {layer} is not supported: every {INTERVAL}th layer has no RoPE"
            )
    return {}


def _no_windows(kinds: Any) -> dict[str, Any]:
    """Refuses layers with a sliding window, which no model has."""
    if kinds is not None and (not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds)):
        raise UnsupportedError(f"{quote(kinds)} are not all full_attention")
    return {}


SMOLLM3 = HuggingFaceNames(
    architecture="smollm3",
    tensors={**TENSORS, **BIASES},
    keys=KEYS,
    required={**SILU, "use_sliding_window": (False, None)},
    keys_without_effect={
        **KEYS_WITHOUT_EFFECT,
        "max_window_layers": "layers with a window, which use_sliding_window turns off",
        "sliding_window": "use_sliding_window turns it off",
        "transformers.js_config": "for another program",
    },
    tensors_without_effect=TENSORS_WITHOUT_EFFECT,
    computed={
        ("no_rope_layers", "no_rope_layer_interval", "num_hidden_layers"): rotated,
        "layer_types": _no_windows,
    },
    defaults={  # transformers, SmolLM3Config
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 2000000.0,
        "tie_word_embeddings": True,
    },
)
