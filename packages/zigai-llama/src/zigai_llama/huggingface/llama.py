"""Names of Llama, Mistral and Mixtral in Hugging Face's folders.

Source: transformers (models/llama, models/mistral, models/mixtral).
"""

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

LLAMA = HuggingFaceNames(
    architecture="llama",
    tensors={**TENSORS, **BIASES},
    keys=KEYS,
    required=SILU,
    keys_without_effect=KEYS_WITHOUT_EFFECT,
    tensors_without_effect=TENSORS_WITHOUT_EFFECT,
)
MIXTRAL = HuggingFaceNames(
    architecture="llama",
    tensors={
        **TENSORS,
        f"{LAYER}block_sparse_moe.gate.weight": "blk.{}.ffn_gate_inp.weight",
        f"{LAYER}block_sparse_moe.experts.[].w1.weight": "blk.{}.ffn_gate_exps.weight",
        f"{LAYER}block_sparse_moe.experts.[].w2.weight": "blk.{}.ffn_down_exps.weight",
        f"{LAYER}block_sparse_moe.experts.[].w3.weight": "blk.{}.ffn_up_exps.weight",
    },
    keys={
        **KEYS,
        "sliding_window": "attention.sliding_window",
        "num_local_experts": "expert_count",
        "num_experts_per_tok": "expert_used_count",
    },
    required=SILU,
    keys_without_effect={
        **KEYS_WITHOUT_EFFECT,
        "output_router_logits": "for training",
        "router_aux_loss_coef": "for training",
        "router_jitter_noise": "for training",
    },
    tensors_without_effect=TENSORS_WITHOUT_EFFECT,
)
MISTRAL = HuggingFaceNames(
    architecture="llama",
    tensors=TENSORS,
    keys={**KEYS, "sliding_window": "attention.sliding_window"},
    required=SILU,
    keys_without_effect=KEYS_WITHOUT_EFFECT,
    tensors_without_effect=TENSORS_WITHOUT_EFFECT,
)
