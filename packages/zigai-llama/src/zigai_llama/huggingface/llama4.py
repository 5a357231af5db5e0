"""Names of Llama 4 in Hugging Face's folders. Source: transformers (models/llama4).

Experts lie in rows of inputs, gate and up beside each other; GGUF has a matrix in rows of outputs for each.
"""

from __future__ import annotations

import dataclasses
from itertools import islice
from typing import Any

from zigai_core.contracts.errors import UnsupportedError, quote
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
from zigai_llama.huggingface.smollm3 import rotated
from zigai_llama.llama4 import WITHOUT_NORM

_FEED_FORWARD = f"{LAYER}feed_forward."
_KINDS = {"chunked_attention": True, "full_attention": False}


def _chunks(kinds: Any, length: Any) -> dict[str, Any]:
    """Which layers see their chunk alone: `layer_types`, by default those with RoPE."""
    if type(length) is not int or length < 1:
        raise UnsupportedError(f"an attention_chunk_size of {quote(length)} is not supported")
    if kinds is None:
        return {"attention.sliding_window": length}
    if not isinstance(kinds, list):
        raise ValueError("layer_types must be an array")
    others = [kind for kind in kinds if not isinstance(kind, str) or kind not in _KINDS]
    if others:
        raise UnsupportedError(f"layers of {quote(others[0])} are not supported")
    flags = [_KINDS[kind] for kind in kinds]
    return {"attention.sliding_window": length, "attention.sliding_window_pattern": flags}


def _mixtures(listed: Any, step: Any, layers: Any) -> dict[str, Any]:
    """One of how many layers has experts; `moe_layers` may list them, but name no others."""
    if type(step) is not int or step < 1 or type(layers) is not int:
        raise UnsupportedError(f"an interleave_moe_layer_step of {quote(step)} is not supported")
    if listed is not None and not isinstance(listed, list):
        raise ValueError("moe_layers must be an array")
    # As many as are listed, and one more: the file may name any number of layers.
    expected = islice(range(step - 1, layers, step), len(listed or ()) + 1)
    if listed is not None and listed != [*expected]:
        raise UnsupportedError(
            f"moe_layers {quote(listed)} are not those of an interleave_moe_layer_step of {step}"
        )
    return {"interleave_moe_layer_step": step}


def _temperature(tuned: Any, length: Any, scale: Any) -> dict[str, Any]:
    if tuned not in (True, False):
        raise ValueError("attn_temperature_tuning must be true or false")
    return {"attention.temperature_length": length, "attention.temperature_scale": scale if tuned else 0.0}


def _norm(normed: Any, count: Any) -> dict[str, Any]:
    """Whether queries and keys have a norm, which files of GGUF do not say."""
    if normed != (count != WITHOUT_NORM):
        raise UnsupportedError(
            f"use_qk_norm {quote(normed)} with {quote(count)} experts is not supported: models of "
            f"{WITHOUT_NORM} experts have none, all others have it"
        )
    return {}


LLAMA4_TEXT = HuggingFaceNames(
    architecture="llama4",
    tensors={
        **{name: ours for name, ours in TENSORS.items() if ".mlp." not in name},
        **{name: ours for name, ours in BIASES.items() if "self_attn" in name},
        f"{_FEED_FORWARD}router.weight": "blk.{}.ffn_gate_inp.weight",
        **{
            f"{_FEED_FORWARD}{theirs}{part}_proj.weight": f"blk.{{}}.ffn_{part}{ours}.weight"
            for theirs, ours in (("", ""), ("shared_expert.", "_shexp"))
            for part in ("gate", "up", "down")
        },
    },
    parts={
        f"{_FEED_FORWARD}experts.gate_up_proj": [
            TensorPart("blk.{}.ffn_gate_exps.weight", lambda a: a[:, : a.shape[1] // 2].T, each=True),
            TensorPart("blk.{}.ffn_up_exps.weight", lambda a: a[:, a.shape[1] // 2 :].T, each=True),
        ],
        f"{_FEED_FORWARD}experts.down_proj": [
            TensorPart("blk.{}.ffn_down_exps.weight", lambda a: a.T, each=True),
        ],
    },
    keys={
        **KEYS,
        "intermediate_size": "expert_feed_forward_length",
        "intermediate_size_mlp": "feed_forward_length",
        "num_local_experts": "expert_count",
        "num_experts_per_tok": "expert_used_count",
    },
    required=SILU,
    keys_without_effect={
        **KEYS_WITHOUT_EFFECT,
        **dict.fromkeys(
            ("output_router_logits", "router_aux_loss_coef", "router_jitter_noise"), "for training"
        ),
        "for_llm_compressor": "for another program",
    },
    tensors_without_effect=TENSORS_WITHOUT_EFFECT,
    computed={
        ("no_rope_layers", "no_rope_layer_interval", "num_hidden_layers"): rotated,
        ("layer_types", "attention_chunk_size"): _chunks,
        ("moe_layers", "interleave_moe_layer_step", "num_hidden_layers"): _mixtures,
        ("attn_temperature_tuning", "floor_scale", "attn_scale"): _temperature,
        ("use_qk_norm", "num_local_experts"): _norm,
    },
    defaults={  # transformers, Llama4TextConfig
        "vocab_size": 202048,
        "hidden_size": 5120,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "num_experts_per_tok": 1,
        "num_local_experts": 16,
        "interleave_moe_layer_step": 1,
        "use_qk_norm": True,
        "attention_chunk_size": 8192,
        "attn_temperature_tuning": True,
        "floor_scale": 8192,
        "attn_scale": 0.1,
    },
    rope_pairing="adjacent",
)
LLAMA4 = dataclasses.replace(
    LLAMA4_TEXT,
    section="text_config",
    tensors={f"language_model.{name}": ours for name, ours in LLAMA4_TEXT.tensors.items()},
    parts={f"language_model.{name}": parts for name, parts in LLAMA4_TEXT.parts.items()},
    keys_without_effect={
        **LLAMA4_TEXT.keys_without_effect,
        **dict.fromkeys(
            ("vision_config", "boi_token_index", "eoi_token_index", "image_token_index"),
            "of images, which are not supported",
        ),
    },
    unsupported_tensors=dict.fromkeys(
        ("vision_model.*", "multi_modal_projector.*"), "images are not supported, texts are"
    ),
)
