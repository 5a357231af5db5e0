"""Sorts the keys of a config.json: those that are hyperparameters, those without effect, and the rest.

Sources: the configurations of transformers; GGUF's keys, gguf/constants.py of
https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

_HYPERPARAMETERS = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings n_positions max_seq_len",
    "embedding_length": "hidden_size n_embd d_model",
    "feed_forward_length": "intermediate_size n_inner ffn_dim d_ff",
    "block_count": "num_hidden_layers n_layer n_layers num_layers",
    "attention.head_count": "num_attention_heads n_head n_heads num_heads",
    "attention.head_count_kv": "num_key_value_heads num_kv_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.layer_norm_epsilon": "layer_norm_eps layer_norm_epsilon norm_epsilon norm_eps",
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "expert_count": "num_experts num_local_experts n_routed_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "expert_weights_norm": "norm_topk_prob",
    "use_parallel_residual": "use_parallel_residual",
    "attention.scale": "attention_multiplier",
    "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier",
    "logit_scale": "logits_scaling logit_scale",
}
"""By hyperparameter, the keys that give it."""
_KEYS = {theirs: ours for ours, names in _HYPERPARAMETERS.items() for theirs in names.split()}

_ACTIVATIONS = frozenset({"hidden_act", "hidden_activation", "activation_function"})

_LEFT_OUT = (
    (re.compile(r".*(dropout|pdrop).*"), "dropout is for training"),
    (re.compile(r"initializer_(range|factor)"), "of random weights, for training"),
    (
        re.compile(r"(router_)?aux_loss_coef|router_(aux_loss_coef|jitter_noise)|output_router_logits"),
        "for training",
    ),
    (re.compile(r"pretraining_tp"), "splits products for training; results are the same"),
    (
        re.compile(r"((use|add)_)?((attention|attn|qkv|mlp|ffn|conv|linear|lm_head)_)?bias(_linear)?"),
        "biases are read if the folder has them",
    ),
    (re.compile(r"summary_\w+"), "of another head"),
    (re.compile(r"original_max_position_embeddings"), "read with the scaling of RoPE"),
)

_READ_ELSEWHERE = frozenset(
    (
        *("architectures", "model_type", "transformers_version", "dtype", "torch_dtype", "use_cache"),
        *("tie_word_embeddings", "rope_theta", "rope_scaling", "rope_parameters", "is_decoder"),
    )
)


def _has_value(value: object) -> bool:
    """False for null, false and what is empty, which the reader of folders passes over; 0 is a value."""
    return value is not None and value is not False and value not in ("", [], {})


@dataclass(frozen=True)
class SortedKeys:
    """The keys of a config.json that a `HuggingFaceNames` has to name, by what becomes of them."""

    keys: dict[str, str] = field(default_factory=dict)
    """The hyperparameter of each key."""
    required: dict[str, Any] = field(default_factory=dict)
    """The value that a key must have."""
    left_out: dict[str, str] = field(default_factory=dict)
    """The reason why a key has no effect."""
    unknown: dict[str, Any] = field(default_factory=dict)
    """The value of each key of which nothing is known."""


def sorted_keys(config: Mapping[str, Any], of_every_model: Set[str]) -> SortedKeys:
    """Sorts the keys of a configuration.

    `of_every_model` are the keys of transformers itself, which the reader of folders knows. A key that has no
    value in this configuration, and is not in the tables, is left away: with a value it would be refused.
    """
    found = SortedKeys()
    used = set[str]()
    for key, value in config.items():
        if key in _KEYS and _KEYS[key] not in used:
            found.keys[key] = _KEYS[key]
            used.add(_KEYS[key])
        elif key in _ACTIVATIONS:
            found.required[key] = value
        elif key in of_every_model or key in _READ_ELSEWHERE or key.endswith("_token_id"):
            continue
        elif reason := next((reason for names, reason in _LEFT_OUT if names.fullmatch(key)), ""):
            found.left_out[key] = reason
        elif _has_value(value):
            found.unknown[key] = value
    return found
