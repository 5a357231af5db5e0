"""`nomic_bert`, with the names of its first checkpoints."""

from __future__ import annotations

from typing import Any

from zigai_bert.huggingface.common import (
    DROPOUT,
    KEYS,
    KEYS_WITHOUT_EFFECT,
    OTHER_HEAD,
    encoder,
    tensors,
)
from zigai_core.contracts.huggingface import HuggingFaceNames

_NOMIC_PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "attn_output_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_mlp_layernorm": "layer_output_norm",
}
_NOMIC_OLD_PARTS = {
    "attn.Wqkv": "attn_qkv",
    "attn.out_proj": "attn_output",
    "norm1": "attn_output_norm",
    "mlp.fc11": "ffn_up",
    "mlp.fc12": "ffn_gate",
    "mlp.fc2": "ffn_down",
    "norm2": "layer_output_norm",
}
_NOMIC_SINGLE = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.token_type_embeddings": "token_types",
}
_NOMIC_OLD_KEYS = {
    "n_embd": "embedding_length",
    "n_inner": "feed_forward_length",
    "n_layer": "block_count",
    "n_head": "attention.head_count",
    "layer_norm_epsilon": "attention.layer_norm_epsilon",
}
"""Keys of the configuration that came with the first checkpoints, of code that is not transformers'."""


def _old_positions(given: Any, trained: Any) -> dict[str, int]:
    """The context of the first checkpoints: the positions that they were trained with, if they say so."""
    numbers = [each for each in (given, trained) if each is not None]
    if not all(type(each) is int and each > 0 for each in numbers):
        raise ValueError("numbers of positions must be whole numbers above 0")
    return {"context_length": min(numbers)} if numbers else {}


_BASE = 1000.0  # of RoPE


def _old_base(value: Any, base: Any) -> dict[str, float]:
    """RoPE's base of the first checkpoints, which `rope_theta` does not contradict."""
    if value is None:
        return {}
    if base not in (_BASE, value):
        raise ValueError("they are the same setting, and must be equal")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value < 1e30:
        raise ValueError("a base of RoPE must be a number of 1 or more")
    return {"rope.freq_base": float(value)}


NOMIC_BERT = HuggingFaceNames(
    architecture="nomic-bert",
    tensors={
        **tensors(
            ["", "nomic_bert."],
            {**_NOMIC_SINGLE, "embeddings.LayerNorm": "token_embd_norm"},
            "layers.{}",
            _NOMIC_PARTS,
        ),
        **tensors(
            [""], {**_NOMIC_SINGLE, "emb_ln": "token_embd_norm"}, "encoder.layers.{}", _NOMIC_OLD_PARTS
        ),
    },
    keys={
        **KEYS,
        **_NOMIC_OLD_KEYS,
        "head_dim": "attention.key_length",
        "layer_norm_eps": "attention.layer_norm_epsilon",
    },
    required={
        "hidden_act": ("silu",),
        "activation_function": ("swiglu",),
        "causal": (False,),
        "mlp_fc1_bias": (False,),
        "mlp_fc2_bias": (False,),
        "moe_every_n_layers": (None, 0),
        "parallel_block": (False,),
        "prenorm": (False,),
        "qkv_proj_bias": (False,),
        "rotary_emb_fraction": (1.0,),
        "rotary_emb_interleaved": (False,),
        "rotary_emb_scale_base": (None,),
        "rotary_scaling_factor": (None,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "scale_attn_weights": (True,),
        "use_rms_norm": (False, None),
    },
    keys_without_effect={
        **KEYS_WITHOUT_EFFECT,
        **dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop", "summary_first_dropout"), DROPOUT),
        **dict.fromkeys(
            (
                "summary_activation",
                "summary_proj_to_labels",
                "summary_type",
                "summary_use_proj",
                "use_xentropy",
            ),
            OTHER_HEAD,
        ),
        **dict.fromkeys(
            (
                "dense_seq_output",
                "fused_bias_fc",
                "fused_dropout_add_ln",
                "pad_vocab_size_multiple",
                "parallel_block_tied_norm",
                "reorder_and_upcast_attn",
                "use_flash_attn",
            ),
            "how the first code computes",
        ),
    },
    tensors_without_effect={"lm_head.*": OTHER_HEAD, "cls.*": OTHER_HEAD},
    computed={
        "num_attention_heads": encoder,
        ("rotary_emb_base", "rope_theta"): _old_base,
        ("n_positions", "max_trained_positions"): _old_positions,
    },
    defaults={
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 2048,
        "vocab_size": 30528,
        "layer_norm_eps": 1e-12,
        "rope_theta": _BASE,
    },
)
