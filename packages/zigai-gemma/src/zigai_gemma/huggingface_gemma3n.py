"""Names of Gemma 3n's parts in Hugging Face's folders, by `model_type`.

Source: transformers (models/gemma3n), whose modules and configuration keys are named here.
"""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist
from typing import Any

from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.contracts.huggingface_windows import window_of_some_layers, windows_by_layer_types
from zigai_gemma.huggingface import cap
from zigai_gemma.huggingface_per_layer import layer_of, shared_tensors

_PARTS = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "post_attention_layernorm.weight": "post_attention_norm.weight",
    "pre_feedforward_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "post_feedforward_layernorm.weight": "post_ffw_norm.weight",
    "altup.correct_output_scale": "altup_correct_scale.weight",
    "altup.correction_coefs.weight": "altup_correct_coef.weight",
    "altup.prediction_coefs.weight": "altup_predict_coef.weight",
    "altup.modality_router.weight": "altup_router.weight",
    "altup.router_norm.weight": "altup_router_norm.weight",
    "laurel.linear_left.weight": "laurel_l.weight",
    "laurel.linear_right.weight": "laurel_r.weight",
    "laurel.post_laurel_norm.weight": "laurel_post_norm.weight",
    "per_layer_input_gate.weight": "inp_gate.weight",
    "per_layer_projection.weight": "proj.weight",
    "post_per_layer_input_norm.weight": "post_norm.weight",
}


def _tensors(prefix: str) -> dict[str, str]:
    """The names of tensors of a model under `prefix`."""
    layer = layer_of(prefix)
    return {
        **shared_tensors(prefix),
        f"{prefix}altup_projections.[].weight": "altup_proj.weight",
        f"{prefix}altup_unembed_projections.[].weight": "altup_unembd_proj.weight",
        **{f"{layer}{theirs}": f"blk.{{}}.{ours}" for theirs, ours in _PARTS.items()},
    }


def _hidden(width: Any) -> dict[str, Any]:
    """The hidden width, a number or one for each layer, which are the same."""
    if isinstance(width, list) and len({*map(str, width)}) == 1:
        width = width[0]
    return {"feed_forward_length": width}


def _windows(kinds: Any, layers: Any) -> dict[str, Any]:
    """Which layers have the window: by default four of five."""
    if kinds is None:
        return {"attention.sliding_window_pattern": [(number + 1) % 5 != 0 for number in range(layers)]}
    return windows_by_layer_types(kinds)


def _sparsity(shares: Any, layers: Any) -> dict[str, Any]:
    """How many deviations above the mean each layer's gate is cut, from the share of it; -inf for none."""
    if shares is None:
        shares = [0.95 if layers > 10 and number < 10 else 0.0 for number in range(layers)]
    if not isinstance(shares, list) or len(shares) != layers:
        raise ValueError("it must be an array with a number for each layer")
    return {"activation_sparsity_scale": [_deviations(share) for share in shares]}


def _deviations(share: Any) -> float:
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not share < 1:
        raise ValueError("a share of the activations must be a number below 1")
    return NormalDist().inv_cdf(share) if share > 0 else -math.inf


_TRAINING = "for training"
GEMMA3N_TEXT = HuggingFaceNames(
    architecture="gemma3n",
    tensors=_tensors("model."),
    keys={
        "vocab_size": "vocab_size",
        "max_position_embeddings": "context_length",
        "hidden_size": "embedding_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "sliding_window": "attention.sliding_window",
        "rope_local_base_freq": "rope.freq_base_swa",
        "num_kv_shared_layers": "attention.shared_kv_layers",
        "hidden_size_per_layer_input": "embedding_length_per_layer_input",
        "altup_num_inputs": "altup.num_inputs",
        "altup_active_idx": "altup.active_idx",
    },
    required={"hidden_activation": ("gelu_pytorch_tanh",), "altup_correct_scale": (True,)},
    keys_without_effect={
        "attention_bias": "biases are read if the folder has them",
        "attention_dropout": _TRAINING,
        "altup_coef_clip": _TRAINING,
        "altup_lr_multiplier": _TRAINING,
        "initializer_range": _TRAINING,
        "laurel_rank": "the matrices have it",
        "vocab_size_per_layer_input": "the table has as many rows",
    },
    computed={
        "intermediate_size": _hidden,
        ("layer_types", "num_hidden_layers"): _windows,
        ("activation_sparsity_pattern", "num_hidden_layers"): _sparsity,
        "sliding_window": window_of_some_layers,
        "final_logit_softcapping": cap("final_logit_softcapping", default=True),
    },
    defaults={  # transformers, Gemma3nTextConfig
        "vocab_size": 262400,
        "hidden_size": 2048,
        "intermediate_size": 16384,
        "num_hidden_layers": 35,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "sliding_window": 512,
        "final_logit_softcapping": 30.0,
        "num_kv_shared_layers": 15,
        "hidden_size_per_layer_input": 256,
        "altup_num_inputs": 4,
        "altup_active_idx": 0,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
    },
)
_OTHERS = "images and sounds are not supported, texts are"
GEMMA3N = dataclasses.replace(
    GEMMA3N_TEXT,
    tensors=_tensors("model.language_model."),
    keys_without_effect={
        **GEMMA3N_TEXT.keys_without_effect,
        **dict.fromkeys(
            (
                *("vision_config", "audio_config", "audio_soft_tokens_per_image", "boi_token_id"),
                *("vision_soft_tokens_per_image", "eoi_token_id", "image_token_id", "boa_token_id"),
                *("eoa_token_id", "audio_token_id"),
            ),
            _OTHERS,
        ),
    },
    unsupported_tensors={
        f"model.{part}.*": _OTHERS for part in ("vision_tower", "embed_vision", "audio_tower", "embed_audio")
    },
    section="text_config",
)
"""Gemma 3n as it is published, whose texts are one part of a model of texts, images and sounds."""
