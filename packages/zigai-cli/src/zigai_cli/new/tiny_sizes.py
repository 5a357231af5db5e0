"""Sizes that make a configuration of transformers that of a tiny model in which every part matters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

VOCABULARY = 64
"""Tokens of a tiny model, as in `zigai_core.testing.oracles.tiny_folder.SMALL`."""

_SIZES = {
    48: "ffn_dim n_inner d_ff",
    24: "moe_intermediate_size shared_expert_intermediate_size",
    16: "q_lora_rank kv_lora_rank qk_nope_head_dim v_head_dim",
    8: "qk_rope_head_dim",
    7: "sliding_window",  # shorter than the text
    4: "num_experts num_local_experts n_routed_experts",
    2: "num_experts_per_tok",
}
_SIZE_OF = {key: size for size, keys in _SIZES.items() for key in keys.split()}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_EPSILON = re.compile(r"(.*_)?(layer_?norm|norm)_(eps|epsilon)")


def tiny_sizes(config: Mapping[str, Any], small: Mapping[str, Any]) -> dict[str, Any]:
    """The settings to change in a configuration, by its own keys, once those of `small` are made.

    A key without a value keeps none: a model without a window gets none.
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        if key in small:
            continue
        if isinstance(value, int) and not isinstance(value, bool):
            if key in _SIZE_OF:
                found[key] = _SIZE_OF[key]
            elif key == "head_dim" and "hidden_size" in small and "num_attention_heads" in small:
                found[key] = small["hidden_size"] // small["num_attention_heads"]
            elif key.endswith("_token_id") and value >= VOCABULARY:
                found[key] = _TOKENS.get(key, 3)
        elif isinstance(value, float) and _EPSILON.fullmatch(key):
            found[key] = 1e-2  # large enough to be noticed
    return found
