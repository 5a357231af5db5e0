"""Names of the family's parts in Hugging Face's folders, by `model_type`.

Source: transformers (models/glm, glm4, glm4_moe), whose modules and configuration keys are named here.
Configurations leave out values that are the default of their class.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from zigai_core.contracts.errors import quote
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.contracts.huggingface_values import rotated_elements

_LAYER = "model.layers.{}."
_AHEAD = "layers that guess several tokens ahead are not computed"


def _rotated(share: Any, head_dim: Any, width: Any, heads: Any) -> dict[str, int]:
    """The rotated elements of a head; half of them by default."""
    return {"rope.dimension_count": rotated_elements(share, head_dim, width, heads, default=0.5)[0]}


def _groups(groups: Any, used: Any) -> dict[str, int]:
    """The groups of experts, and how many of them are used."""
    for value in (groups, used):
        if type(value) is not int:
            raise ValueError(f"{quote(value)} is no whole number")
    if not 1 <= used <= groups:
        raise ValueError(f"{used} of {groups} groups of experts are used, which is not possible")
    return {"expert_group_count": groups, "expert_group_used_count": used}


GLM = HuggingFaceNames(
    architecture="chatglm",
    tensors={
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
        **{
            f"{_LAYER}{theirs}.weight": f"blk.{{}}.{ours}.weight"
            for theirs, ours in (
                ("input_layernorm", "attn_norm"),
                ("self_attn.q_proj", "attn_q"),
                ("self_attn.k_proj", "attn_k"),
                ("self_attn.v_proj", "attn_v"),
                ("self_attn.o_proj", "attn_output"),
                ("post_attention_layernorm", "ffn_norm"),
                ("mlp.gate_up_proj", "ffn_up"),
                ("mlp.down_proj", "ffn_down"),
            )
        },
        **{f"{_LAYER}self_attn.{part}_proj.bias": f"blk.{{}}.attn_{part}.bias" for part in "qkv"},
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
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    },
    required={"hidden_act": ("silu",)},
    keys_without_effect={
        "attention_bias": "biases are read if the folder has them",
        "attention_dropout": "dropout is for training",
        "initializer_range": "of random weights, for training",
        "pretraining_tp": "splits products for training; results are the same",
    },
    tensors_without_effect={
        "model.layers.*.self_attn.rotary_emb.inv_freq": "computed from the configuration",
    },
    computed={
        ("partial_rotary_factor", "head_dim", "hidden_size", "num_attention_heads"): _rotated,
    },
    defaults={  # transformers, GlmConfig
        "vocab_size": 151552,
        "hidden_size": 4096,
        "intermediate_size": 13696,
        "num_hidden_layers": 40,
        "num_attention_heads": 32,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1.5625e-07,
    },
    rope_pairing="adjacent",
)

GLM4 = dataclasses.replace(
    GLM,
    architecture="glm4",
    tensors={
        **GLM.tensors,
        f"{_LAYER}post_self_attn_layernorm.weight": "blk.{}.post_attention_norm.weight",
        f"{_LAYER}post_mlp_layernorm.weight": "blk.{}.post_ffw_norm.weight",
    },
)

GLM4_MOE = dataclasses.replace(
    GLM,
    architecture="glm4moe",
    tensors={
        **{theirs: ours for theirs, ours in GLM.tensors.items() if ".mlp." not in theirs},
        f"{_LAYER}post_attention_layernorm.weight": "blk.{}.post_attention_norm.weight",
        f"{_LAYER}self_attn.q_norm.weight": "blk.{}.attn_q_norm.weight",
        f"{_LAYER}self_attn.k_norm.weight": "blk.{}.attn_k_norm.weight",
        f"{_LAYER}mlp.gate.weight": "blk.{}.ffn_gate_inp.weight",
        f"{_LAYER}mlp.gate.e_score_correction_bias": "blk.{}.exp_probs_b.bias",
        **{
            f"{_LAYER}mlp.{theirs}{part}_proj.weight": f"blk.{{}}.ffn_{part}{ours}.weight"
            for theirs, ours in (("", ""), ("experts.[].", "_exps"), ("shared_experts.", "_shexp"))
            for part in ("gate", "up", "down")
        },
    },
    keys={
        **GLM.keys,
        "first_k_dense_replace": "leading_dense_block_count",
        "n_routed_experts": "expert_count",
        "num_experts_per_tok": "expert_used_count",
        "n_shared_experts": "expert_shared_count",
        "moe_intermediate_size": "expert_feed_forward_length",
        "routed_scaling_factor": "expert_weights_scale",
        "norm_topk_prob": "expert_weights_norm",
    },
    required={**GLM.required, "scoring_func": ("sigmoid",), "topk_method": ("noaux_tc",)},
    keys_without_effect={
        **GLM.keys_without_effect,
        "num_mtp_layers": _AHEAD,
        "num_nextn_predict_layers": _AHEAD,
        "output_router_logits": "for training",
        "use_qk_norm": "norms of queries and keys are read if the folder has them",
    },
    # Of GLM-4.5-Air and GLM-4.5, as transformers leaves them out.
    unsupported_tensors=dict.fromkeys(("model.layers.46.*", "model.layers.92.*"), _AHEAD),
    computed={
        **GLM.computed,
        ("n_group", "topk_group"): _groups,
        "n_routed_experts": lambda _: {"expert_gating_func": 2},  # sigmoid
    },
    defaults={  # transformers, Glm4MoeConfig
        "vocab_size": 151552,
        "hidden_size": 4096,
        "intermediate_size": 10944,
        "num_hidden_layers": 46,
        "num_attention_heads": 96,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "moe_intermediate_size": 1408,
        "num_experts_per_tok": 8,
        "n_shared_experts": 1,
        "n_routed_experts": 128,
        "routed_scaling_factor": 1.0,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "norm_topk_prob": True,
    },
    rope_pairing="half",
)
