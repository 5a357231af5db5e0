"""Names of Granite in Hugging Face's folders. Source: transformers (models/granite, granitemoe, …shared)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart
from zigai_llama.huggingface.common import (
    BIASES,
    KEYS,
    KEYS_WITHOUT_EFFECT,
    LAYER,
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


def _halves(ours: str) -> list[TensorPart]:
    """The parts of a tensor `[…, 2 · hidden, width]` of gates, and then of what they are multiplied by."""
    return [
        TensorPart(f"blk.{{}}.ffn_gate_{ours}.weight", lambda a: a[..., : a.shape[-2] // 2, :]),
        TensorPart(f"blk.{{}}.ffn_up_{ours}.weight", lambda a: a[..., a.shape[-2] // 2 :, :]),
    ]


GRANITEMOE = dataclasses.replace(
    GRANITE,
    architecture="granitemoe",
    tensors={
        **{name: ours for name, ours in GRANITE.tensors.items() if ".mlp." not in name},
        f"{LAYER}block_sparse_moe.router.layer.weight": "blk.{}.ffn_gate_inp.weight",
        f"{LAYER}block_sparse_moe.output_linear.weight": "blk.{}.ffn_down_exps.weight",
    },
    parts={f"{LAYER}block_sparse_moe.input_linear.weight": _halves("exps")},
    keys={**KEYS, "num_local_experts": "expert_count", "num_experts_per_tok": "expert_used_count"},
    keys_without_effect={
        **KEYS_WITHOUT_EFFECT,
        **dict.fromkeys(("output_router_logits", "router_aux_loss_coef"), "for training"),
    },
    defaults={**GRANITE.defaults, "num_local_experts": 8, "num_experts_per_tok": 2},  # GraniteMoeConfig
)
GRANITEMOESHARED = dataclasses.replace(
    GRANITEMOE,
    tensors={
        **GRANITEMOE.tensors,
        f"{LAYER}shared_mlp.output_linear.weight": "blk.{}.ffn_down_shexp.weight",
    },
    parts={**GRANITEMOE.parts, f"{LAYER}shared_mlp.input_linear.weight": _halves("shexp")},
    keys={**GRANITEMOE.keys, "shared_intermediate_size": "expert_shared_feed_forward_length"},
)
