"""Names of Ministral 3 in Hugging Face's folders. Source: transformers (models/ministral3)."""

from __future__ import annotations

import dataclasses
from typing import Any

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_llama.huggingface.common import (
    KEYS,
    KEYS_WITHOUT_EFFECT,
    SILU,
    TENSORS,
    TENSORS_WITHOUT_EFFECT,
)

_BETA = "llama_4_scaling_beta"


def _temperature(beta: Any, base: Any, _: Any) -> dict[str, Any]:
    """The temperature of attention, which stands among the settings of RoPE, as RoPE's base does."""
    if beta is None or base is None:
        raise UnsupportedError(f"settings of RoPE without {_BETA} or rope_theta are not supported")
    return {"attention.temperature_scale": beta}


MINISTRAL3 = HuggingFaceNames(
    architecture="mistral3",
    tensors=TENSORS,
    keys=KEYS,
    required={**SILU, "sliding_window": (None,)},
    keys_without_effect=KEYS_WITHOUT_EFFECT,
    tensors_without_effect=TENSORS_WITHOUT_EFFECT,
    computed={(_BETA, "rope_theta", "hidden_size"): _temperature},
    defaults={  # transformers, Ministral3Config
        "vocab_size": 131072,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 34,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262144,
        "rms_norm_eps": 1e-5,
    },
)
MISTRAL3 = dataclasses.replace(  # only with texts of ministral3: those of mistral have other defaults
    MINISTRAL3,
    section="text_config",
    tensors={
        f"{prefix}{name.removeprefix(cut)}": ours
        for prefix, cut in (("language_model.", ""), ("model.language_model.", "model."))
        for name, ours in TENSORS.items()
        if not (name.startswith("lm_head") and cut)
    }
    | {"lm_head.weight": "output.weight"},
    required={**MINISTRAL3.required, "model_type": ("ministral3",)},
    keys_without_effect={
        **KEYS_WITHOUT_EFFECT,
        **dict.fromkeys(
            (
                "vision_config",
                "image_token_index",
                "projector_hidden_act",
                "vision_feature_layer",
                "multimodal_projector_bias",
                "spatial_merge_size",
            ),
            "of images, which are not supported",
        ),
    },
    unsupported_tensors=dict.fromkeys(
        (
            "vision_tower.*",
            "multi_modal_projector.*",
            "model.vision_tower.*",
            "model.multi_modal_projector.*",
        ),
        "images are not supported, texts are",
    ),
)
