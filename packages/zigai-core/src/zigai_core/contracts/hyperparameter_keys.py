"""Hyperparameters that affect a model's results, and their values without effect.

If a file sets one of these to another value and the architecture does not read it, the results would be
wrong: such a model is not loaded. Keys are GGUF's without the architecture's prefix (`gguf/constants.py` of
https://github.com/ggml-org/llama.cpp). Sizes are not listed, since the shapes of tensors are checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "activation_sparsity_scale": (0.0,),
    "altup.num_inputs": (0, 1),
    "attention.causal": (True, 1),
    "attention.chunk_size": (0,),
    "attention.clamp_kqv": (0.0,),
    "attention.group_norm_groups": (0,),
    "attention.indexer.head_count": (0,),
    "attention.kv_lora_rank": (0,),
    "attention.max_alibi_bias": (0.0,),
    "attention.output_scale": (0.0, 1.0),
    "attention.q_lora_rank": (0,),
    "attention.relative_buckets_count": (0,),
    "attention.scale": (0.0,),
    "attention.shared_kv_layers": (0,),
    "attention.sliding_window": (0,),
    "attention.sliding_window_pattern": (0, True),  # a window in every layer
    "attention.temperature_length": (0,),
    "attention.temperature_scale": (0.0,),
    "attn_logit_softcapping": (0.0,),
    "embedding_length_per_layer_input": (0,),
    "embedding_scale": (0.0, 1.0),
    "expert_count": (0,),
    "expert_gating_func": (0, 1),
    "expert_group_count": (0, 1),
    "expert_group_scale": (0.0, 1.0),
    "expert_weights_norm": (False,),
    "expert_weights_scale": (0.0, 1.0),
    "experts_per_group": (0,),
    "final_logit_softcapping": (0.0,),
    "full_attention_interval": (0, 1),
    "interleave_moe_layer_step": (0, 1),
    "leading_dense_block_count": (0,),
    "logit_scale": (0.0, 1.0),
    "moe_every_n_layers": (0, 1),
    "n_deepstack_layers": (0,),
    "nextn_predict_layers": (0,),
    "pooling_type": (-1, 0, 3),  # not specified, none, the last token's state, which `embed` returns
    "rescale_every_n_layers": (0,),
    "residual_scale": (0.0, 1.0),
    "rope.dimension_count": (0,),  # and the width of a head
    "rope.dimension_sections": (0,),
    "rope.freq_base_swa": (0.0,),
    "rope.scale_linear": (0.0, 1.0),
    "rope.scaling.alpha": (0.0, 1.0),
    "rope.scaling.attn_factor": (0.0, 1.0),
    "rope.scaling.factor": (0.0, 1.0),
    "rope.scaling.type": ("none", ""),
    "rope.scaling.yarn_attn_factor": (0.0, 1.0),
    "rope.scaling.yarn_log_multiplier": (0.0,),
    "rope.scaling.yarn_truncate": (True,),
    "router_logit_softcapping": (0.0,),
    "ssm.conv_kernel": (0,),
    "ssm.dt_b_c_rms": (False,),
    "ssm.state_size": (0,),
    "swiglu_clamp_exp": (0.0,),
    "swiglu_clamp_shexp": (0.0,),
    "swin_norm": (False,),
    "token_shift_count": (0,),
    "use_parallel_residual": (False,),
}
"""The values without effect, by key: a scale of 1, a cap of 0, one group. 0 means "not set"."""

UNKNOWN = "config."
"""Beginning of the keys under which a format reader passes on settings that it does not understand."""

READ_ELSEWHERE = frozenset({"context_length", "vocab_size"})
"""Keys that loading itself reads, or whose value is also given by a shape."""


def changes_numbers(hyperparameters: Mapping[str, Any], key: str, *, context: int) -> bool:
    """True if results are wrong when `key` is not read: its value, or an entry of its list, has an effect.

    `context` is the number of tokens a sequence may hold: a window of at least that size has no effect.
    """
    if key.startswith(UNKNOWN):
        return True
    if key not in NEUTRAL:
        return False
    value = hyperparameters[key]
    values = [value] if isinstance(value, str) else np.asarray(value, dtype=object).reshape(-1).tolist()
    if key == "attention.sliding_window":
        values = [entry for entry in values if not isinstance(entry, int) or entry < context]
    if key == "attention.sliding_window_pattern" and not hyperparameters.get("attention.sliding_window"):
        return False
    if key == "attention.scale":
        values = [entry for entry in values if not _is_default_scale(hyperparameters, entry)]
    if key == "rope.dimension_count":
        values = [entry for entry in values if not _is_head_width(hyperparameters, entry)]
    if key.startswith("rope.scaling.yarn_") and hyperparameters.get("rope.scaling.type") != "yarn":
        return False
    return any(not _is_one_of(entry, NEUTRAL[key]) for entry in values)


def _is_default_scale(hyperparameters: Mapping[str, Any], scale: object) -> bool:
    """True if `scale` is 1 over the root of a head's width."""
    width = _head_width(hyperparameters)
    return width > 0 and isinstance(scale, float) and math.isclose(scale, width**-0.5, rel_tol=1e-5)


def _is_head_width(hyperparameters: Mapping[str, Any], rotated: object) -> bool:
    """True if `rotated` elements are a whole head, as without the key."""
    return isinstance(rotated, int) and rotated > 0 and rotated == _head_width(hyperparameters)


def _head_width(hyperparameters: Mapping[str, Any]) -> int:
    """The elements of a query's head; 0 if the hyperparameters do not give it as one number."""
    width: Any = hyperparameters.get("attention.key_length")
    if width is None:
        total, heads = (hyperparameters.get(key, 0) for key in ("embedding_length", "attention.head_count"))
        width = total // heads if isinstance(total, int) and isinstance(heads, int) and heads > 0 else 0
    return width if isinstance(width, int) else 0


def _is_one_of(value: object, neutral: tuple[object, ...]) -> bool:
    """True if `value` equals one of `neutral`; a boolean never equals a number."""
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in neutral)
