"""Names of the family's parts in Hugging Face's folders, by `model_type`.

Source: transformers (models/phi3), whose modules and configuration keys are named here. Configurations leave
out values that are the default of their class.
"""

from __future__ import annotations

from typing import Any

from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.contracts.huggingface_values import rotated_elements
from zigai_core.contracts.huggingface_windows import window_if_any

_LAYER = "model.layers.{}."
_DROPOUT = "dropout is for training"
_ORIGINAL = "original_max_position_embeddings"
_SCALINGS = (None, "default", "longrope", "su")
"""Values of RoPE's `rope_type`, of which `su` is LongRoPE's name in the first files."""


def _scaling(original: Any, *settings: Any) -> dict[str, int]:
    """Checks RoPE's settings: another scaling than LongRoPE, and an original context that they contradict.

    transformers lets the key beside the settings win, whose default is 4096.
    """
    for given in settings:
        if not isinstance(given, dict):  # null; any other value is refused where settings are read
            continue
        kind = given.get("rope_type", given.get("type"))
        if kind not in _SCALINGS:
            raise UnsupportedError(f"the scaling of RoPE {quote(kind)} is not supported for phi3")
        inner = given.get(_ORIGINAL)
        if inner is not None and inner != original:
            raise ValueError(f"{_ORIGINAL} is {quote(original)}, but {quote(inner)} among RoPE's settings")
    return {}


def _rotated(share: Any, head_dim: Any, width: Any, heads: Any) -> dict[str, int]:
    """The number of rotated elements of a head, if it is not all."""
    count, size = rotated_elements(share, head_dim, width, heads, default=1.0)
    return {} if count == size else {"rope.dimension_count": count}


PHI3 = HuggingFaceNames(
    architecture="phi3",
    tensors={
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
        f"{_LAYER}input_layernorm.weight": "blk.{}.attn_norm.weight",
        f"{_LAYER}self_attn.qkv_proj.weight": "blk.{}.attn_qkv.weight",
        f"{_LAYER}self_attn.o_proj.weight": "blk.{}.attn_output.weight",
        f"{_LAYER}post_attention_layernorm.weight": "blk.{}.ffn_norm.weight",
        f"{_LAYER}mlp.gate_up_proj.weight": "blk.{}.ffn_up.weight",
        f"{_LAYER}mlp.down_proj.weight": "blk.{}.ffn_down.weight",
    },
    keys={
        "vocab_size": "vocab_size",
        "max_position_embeddings": "context_length",
        _ORIGINAL: "rope.scaling.original_context_length",
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "sliding_window": "attention.sliding_window",
    },
    required={
        "hidden_act": ("silu",),
        "attention_bias": (False, None),  # no member has biases, and transformers reads none
        "mlp_bias": (False, None),
        "lm_head_bias": (False, None),
        "full_attn_mod": (1, None),  # of the configuration of Phi-4-mini, as the next
        "interpolate_factor": (1, None),
    },
    keys_without_effect={
        "attention_dropout": _DROPOUT,
        "embd_pdrop": _DROPOUT,
        "resid_pdrop": _DROPOUT,
        "initializer_range": "of random weights, for training",
    },
    tensors_without_effect={
        "model.layers.*.self_attn.rotary_emb.inv_freq": "computed from the configuration",
    },
    computed={
        (_ORIGINAL, "rope_parameters", "rope_scaling"): _scaling,
        ("partial_rotary_factor", "head_dim", "hidden_size", "num_attention_heads"): _rotated,
        "sliding_window": window_if_any,
    },
    defaults={  # transformers, Phi3Config
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
        _ORIGINAL: 4096,
        "rms_norm_eps": 1e-5,
    },
)
