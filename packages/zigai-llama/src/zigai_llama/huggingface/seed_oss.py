"""Names of Seed-OSS in Hugging Face's folders. Source: transformers (models/seed_oss)."""

from __future__ import annotations

from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_llama.huggingface.common import (
    BIASES,
    KEYS,
    KEYS_WITHOUT_EFFECT,
    LAYER,
    SILU,
    TENSORS,
    TENSORS_WITHOUT_EFFECT,
)

SEED_OSS = HuggingFaceNames(
    architecture="seed_oss",
    tensors={
        **TENSORS,
        **BIASES,
        f"{LAYER}post_attention_layernorm.weight": "blk.{}.post_attention_norm.weight",
    },
    keys=KEYS,
    required=SILU,
    keys_without_effect={
        **KEYS_WITHOUT_EFFECT,
        "attention_out_bias": "biases are read if the folder has them",
        "residual_dropout": "dropout is for training",
    },
    tensors_without_effect=TENSORS_WITHOUT_EFFECT,
    defaults={  # transformers, SeedOssConfig
        "vocab_size": 155136,
        "hidden_size": 4096,
        "intermediate_size": 27648,
        "num_hidden_layers": 64,
        "num_attention_heads": 80,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 524288,
        "rms_norm_eps": 1e-6,
    },
)
