"""Names of the family's parts in Hugging Face's folders, by `model_type`.

Source: transformers (models/cohere, models/cohere2), whose modules and configuration keys are named here.
Configurations leave out values that are the default of their class.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.contracts.huggingface_windows import window_of_some_layers, windows_by_layer_types

_LAYER = "model.layers.{}."
_PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
}


def _scale(value: Any) -> dict[str, float]:
    """The factor of logits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
        raise ValueError("it must be a number above 0")
    return {"logit_scale": float(value)}


def _length(value: Any) -> dict[str, Any]:
    """The positions of Command R, which `max_position_embeddings` of its first folders does not tell."""
    return {} if value is None else {"context_length": value}


def _pattern(kinds: Any, period: Any) -> dict[str, Any]:
    """Which layers have the window: `layer_types`, or the period `sliding_window_pattern`."""
    if kinds is not None:
        return windows_by_layer_types(kinds)
    period = 4 if period is None else period  # transformers, Cohere2Config
    if type(period) is not int or period < 1:
        raise UnsupportedError(f"sliding_window_pattern {quote(period)} is not supported")
    return {"attention.sliding_window_pattern": period}


COHERE = HuggingFaceNames(
    architecture="command-r",
    tensors={
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
        f"{_LAYER}input_layernorm.weight": "blk.{}.attn_norm.weight",
        f"{_LAYER}mlp.gate_proj.weight": "blk.{}.ffn_gate.weight",
        f"{_LAYER}mlp.up_proj.weight": "blk.{}.ffn_up.weight",
        f"{_LAYER}mlp.down_proj.weight": "blk.{}.ffn_down.weight",
        **{
            f"{_LAYER}{theirs}.{kind}": f"blk.{{}}.{ours}.{kind}"
            for theirs, ours in _PARTS.items()
            for kind in ("weight", "bias")
        },
    },
    keys={
        "vocab_size": "vocab_size",
        "max_position_embeddings": "context_length",
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "layer_norm_eps": "attention.layer_norm_epsilon",
    },
    required={"hidden_act": ("silu",), "use_qk_norm": (False, None)},
    keys_without_effect={
        "attention_bias": "biases are read if the folder has them",
        "attention_dropout": "dropout is for training",
        "initializer_range": "of random weights, for training",
        "pretraining_tp": "splits products for training; results are the same",
    },
    tensors_without_effect={
        "model.layers.*.self_attn.rotary_emb.inv_freq": "computed from the configuration",
    },
    computed={"logit_scale": _scale, "model_max_length": _length},
    defaults={  # transformers, CohereConfig
        "vocab_size": 256000,
        "hidden_size": 8192,
        "intermediate_size": 22528,
        "num_hidden_layers": 40,
        "num_attention_heads": 64,
        "max_position_embeddings": 8192,
        "layer_norm_eps": 1e-5,
        "logit_scale": 0.0625,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
    },
    rope_pairing="adjacent",
)
COHERE2 = dataclasses.replace(
    COHERE,
    architecture="cohere2",
    required={
        "hidden_act": ("silu",),
        "order_of_interleaved_layers": ("local_attn_first", None),  # of Cohere's folders, as the next
        "position_embedding_type": ("rope_gptj", None),
        "rotary_pct": (1.0, None),
        "use_gated_activation": (True, None),
        "use_parallel_block": (True, None),
    },
    keys_without_effect={
        **COHERE.keys_without_effect,
        "cache_implementation": "of transformers' cache",
        "layer_switch": "transformers reads sliding_window_pattern",
        "use_embedding_sharing": "transformers reads tie_word_embeddings",
        "use_parallel_embedding": "splits the embedding among devices",
    },
    computed={
        "logit_scale": _scale,
        "sliding_window": window_of_some_layers,
        ("layer_types", "sliding_window_pattern"): _pattern,
    },
    defaults={**COHERE.defaults, "sliding_window": 4096},  # Cohere2Config
)
