"""Names of the family's parts in Hugging Face's folders, by `model_type`.

Source: transformers (models/deepseek_v2, deepseek_v3, glm4_moe_lite), whose modules and configuration keys
are named here. Configurations leave out values that are the default of their class.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart
from zigai_core.contracts.huggingface_values import whole

_LAYER = "model.layers.{}."
_TRAINING = "for training"
_AHEAD = "layers that guess several tokens ahead are not computed"
_ALL_DIM = "mscale_all_dim"
_SOFTMAX, _SIGMOID = 1, 2
"""Values of `expert_gating_func`."""
_HEADS = ("num_attention_heads", "qk_nope_head_dim", "v_head_dim")


def _widths(rank: Any, plain: Any, rotated: Any) -> dict[str, int]:
    """The widths of the latent, which is key and value of all heads, and of the keys of a head."""
    rank, plain = whole("kv_lora_rank", rank, least=0), whole("qk_nope_head_dim", plain, least=0)
    rotated = whole("qk_rope_head_dim", rotated, least=0)
    return {
        "attention.head_count_kv": 1,
        "attention.key_length": rank + rotated,
        "attention.value_length": rank,
        "attention.key_length_mla": plain + rotated,
    }


def _magnitudes(parameters: Any, scaling: Any, _: Any) -> dict[str, float]:
    """YaRN's factors of scores and of what is rotated, as GGUF files of this architecture have them.

    The latter is m(mscale) / m(mscale_all_dim) if both are given, else m(1), with m(s) = 1 + 0.1 s ln(factor)
    (transformers, modeling_rope_utils); files lack it where it is 1.
    """
    given = parameters or scaling or {}
    if given.get("rope_type", given.get("type")) != "yarn" or not given.get(_ALL_DIM):
        return {}
    all_dim, own = _positive(given, _ALL_DIM), given.get("mscale")
    found = {"rope.scaling.yarn_log_multiplier": 0.1 * all_dim}
    if given.get("attention_factor") is None and own != all_dim:
        growth = 0.1 * math.log(max(_positive(given, "factor"), 1.0))
        ratio = 1 + growth if not own else (1 + _positive(given, "mscale") * growth) / (1 + all_dim * growth)
        found["rope.scaling.yarn_attn_factor"] = ratio
    return found


def _positive(given: Mapping[str, Any], key: str) -> float:
    value = given.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
        raise ValueError(f"{key} is {quote(value)}, but must be a number above 0")
    return float(value)


def _groups(groups: Any, used: Any) -> dict[str, int]:
    """The groups of experts, and how many of them are used."""
    groups, used = whole("n_group", groups, least=0), whole("topk_group", used, least=0)
    if not 1 <= used <= groups:
        raise ValueError(f"{used} of {groups} groups of experts are used, which is not possible")
    return {"expert_group_count": groups, "expert_group_used_count": used}


def _groups_if_limited(method: Any, groups: Any, used: Any) -> dict[str, int]:
    """The groups of experts of DeepSeek-V2, which only the group-limited choice has."""
    if method == "greedy":
        return {}
    if method != "group_limited_greedy":
        raise UnsupportedError(f"the choice of experts {quote(method)} (topk_method) is not supported")
    return _groups(groups, used)


def _leading_dense(kinds: Any, layers: Any) -> dict[str, int]:
    """The number of dense layers, which must come first; one without `mlp_layer_types`."""
    if kinds is None:
        return {"leading_dense_block_count": 1}
    if not isinstance(kinds, list) or not all(kind in ("dense", "sparse") for kind in kinds):
        raise ValueError(f"mlp_layer_types is {quote(kinds)}, but must be an array of dense and sparse")
    if len(kinds) != layers:
        raise ValueError(f"mlp_layer_types has {len(kinds)} entries for {quote(layers)} layers")
    dense = kinds.count("dense")
    if "sparse" in kinds[:dense]:
        raise UnsupportedError("a dense layer after a mixture of experts (mlp_layer_types) is not supported")
    return {"leading_dense_block_count": dense}


DEEPSEEK_V3 = HuggingFaceNames(
    architecture="deepseek2",
    tensors={
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
        f"{_LAYER}mlp.gate.e_score_correction_bias": "blk.{}.exp_probs_b.bias",
        **{
            f"{_LAYER}{theirs}.weight": f"blk.{{}}.{ours}.weight"
            for theirs, ours in (
                ("input_layernorm", "attn_norm"),
                ("self_attn.q_proj", "attn_q"),
                ("self_attn.q_a_proj", "attn_q_a"),
                ("self_attn.q_a_layernorm", "attn_q_a_norm"),
                ("self_attn.q_b_proj", "attn_q_b"),
                ("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
                ("self_attn.kv_a_layernorm", "attn_kv_a_norm"),
                ("self_attn.o_proj", "attn_output"),
                ("post_attention_layernorm", "ffn_norm"),
                ("mlp.gate", "ffn_gate_inp"),
            )
        },
        **{
            f"{_LAYER}self_attn.{theirs}.bias": f"blk.{{}}.{ours}.bias"
            for theirs, ours in (
                ("q_a_proj", "attn_q_a"),
                ("kv_a_proj_with_mqa", "attn_kv_a_mqa"),
                ("o_proj", "attn_output"),
            )
        },
        **{
            f"{_LAYER}mlp.{theirs}{part}_proj.weight": f"blk.{{}}.ffn_{part}{ours}.weight"
            for theirs, ours in (("", ""), ("experts.[].", "_exps"), ("shared_experts.", "_shexp"))
            for part in ("gate", "up", "down")
        },
    },
    parts={
        f"{_LAYER}self_attn.kv_b_proj.weight": [  # of each head, rows for its key, then for its value
            TensorPart(
                "blk.{}.attn_k_b.weight",
                lambda kv, heads, key, value: kv.reshape(heads, key + value, -1)[:, :key].transpose(0, 2, 1),
                sizes=_HEADS,
            ),
            TensorPart(
                "blk.{}.attn_v_b.weight",
                lambda kv, heads, key, value: kv.reshape(heads, key + value, -1)[:, key:],
                sizes=_HEADS,
            ),
        ],
    },
    keys={
        "vocab_size": "vocab_size",
        "max_position_embeddings": "context_length",
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "kv_lora_rank": "attention.kv_lora_rank",
        "qk_rope_head_dim": "rope.dimension_count",
        "v_head_dim": "attention.value_length_mla",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "first_k_dense_replace": "leading_dense_block_count",
        "n_routed_experts": "expert_count",
        "num_experts_per_tok": "expert_used_count",
        "n_shared_experts": "expert_shared_count",
        "moe_intermediate_size": "expert_feed_forward_length",
        "routed_scaling_factor": "expert_weights_scale",
        "norm_topk_prob": "expert_weights_norm",
    },
    required={
        "hidden_act": ("silu",),
        "rope_interleave": (True,),
        "scoring_func": ("sigmoid",),
        "topk_method": ("noaux_tc",),
        "moe_layer_freq": (1,),
    },
    keys_without_effect={
        "attention_bias": "biases are read if the folder has them",
        "attention_dropout": "dropout is for training",
        "aux_loss_alpha": _TRAINING,
        "ep_size": "of several machines; results are the same",
        "head_dim": "the number of rotated elements, which qk_rope_head_dim tells",
        "initializer_range": "of random weights, for training",
        "num_key_value_heads": "each head has its keys and values",
        "num_mtp_layers": _AHEAD,
        "num_nextn_predict_layers": _AHEAD,
        "output_router_logits": _TRAINING,
        "pretraining_tp": "splits products for training; results are the same",
        "qk_head_dim": "the sum of qk_nope_head_dim and qk_rope_head_dim",
        "seq_aux": _TRAINING,
    },
    tensors_without_effect={
        "model.layers.*.self_attn.rotary_emb.inv_freq": "computed from the configuration",
    },
    unsupported_tensors={"model.layers.61.*": _AHEAD},  # of DeepSeek-V3, as transformers leaves them out
    computed={
        # 0 says that there is none; without the key, llama.cpp knows it of models of some sizes alone.
        "q_lora_rank": lambda rank: {"attention.q_lora_rank": 0 if rank is None else rank},
        ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim"): _widths,
        ("rope_parameters", "rope_scaling", "hidden_size"): _magnitudes,
        "n_routed_experts": lambda _: {"expert_gating_func": _SIGMOID},
        ("n_group", "topk_group"): _groups,
    },
    defaults={  # transformers, DeepseekV3Config
        "vocab_size": 129280,
        "hidden_size": 7168,
        "intermediate_size": 18432,
        "moe_intermediate_size": 2048,
        "num_hidden_layers": 61,
        "num_attention_heads": 128,
        "n_shared_experts": 1,
        "n_routed_experts": 256,
        "routed_scaling_factor": 2.5,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "qk_nope_head_dim": 128,
        "n_group": 8,
        "topk_group": 4,
        "num_experts_per_tok": 8,
        "first_k_dense_replace": 3,
        "norm_topk_prob": True,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
    },
    rope_pairing="adjacent",
)

GLM4_MOE_LITE = dataclasses.replace(
    DEEPSEEK_V3,
    keys={key: ours for key, ours in DEEPSEEK_V3.keys.items() if key != "first_k_dense_replace"},
    required={
        **DEEPSEEK_V3.required,
        "first_k_dense_replace": (1, None),  # transformers reads mlp_layer_types alone
        "partial_rotary_factor": (1.0, None),
    },
    unsupported_tensors={"model.layers.47.*": _AHEAD},  # of GLM-4.7-Flash
    computed={**DEEPSEEK_V3.computed, ("mlp_layer_types", "num_hidden_layers"): _leading_dense},
    defaults={  # transformers, Glm4MoeLiteConfig
        "vocab_size": 154880,
        "hidden_size": 2048,
        "intermediate_size": 10240,
        "moe_intermediate_size": 1536,
        "num_hidden_layers": 47,
        "num_attention_heads": 20,
        "n_shared_experts": 1,
        "n_routed_experts": 64,
        "routed_scaling_factor": 1.8,
        "kv_lora_rank": 512,
        "q_lora_rank": 768,
        "qk_rope_head_dim": 64,
        "v_head_dim": 256,
        "qk_nope_head_dim": 192,
        "n_group": 1,
        "topk_group": 1,
        "num_experts_per_tok": 4,
        "norm_topk_prob": True,
        "max_position_embeddings": 202752,
        "rms_norm_eps": 1e-5,
    },
)

DEEPSEEK_V2 = dataclasses.replace(
    DEEPSEEK_V3,
    tensors={
        **{theirs: ours for theirs, ours in DEEPSEEK_V3.tensors.items() if "e_score" not in theirs},
        **{
            f"{_LAYER}mlp.{theirs}{part}_proj.bias": f"blk.{{}}.ffn_{part}{ours}.bias"
            for theirs, ours in (("", ""), ("shared_experts.", "_shexp"))
            for part in ("gate", "up", "down")
        },
    },
    keys={key: ours for key, ours in DEEPSEEK_V3.keys.items() if key != "norm_topk_prob"},
    required={
        "hidden_act": ("silu",),
        "scoring_func": ("softmax",),
        "moe_layer_freq": (1,),
        "norm_topk_prob": (False, None),  # the shares of no model are divided by their sum
    },
    keys_without_effect={
        **DEEPSEEK_V3.keys_without_effect,
        "mlp_bias": "biases are read if the folder has them",
    },
    unsupported_tensors={},
    computed={
        **{
            keys: compute
            for keys, compute in DEEPSEEK_V3.computed.items()
            if keys != ("n_group", "topk_group")
        },
        "n_routed_experts": lambda _: {"expert_gating_func": _SOFTMAX},
        ("topk_method", "n_group", "topk_group"): _groups_if_limited,
    },
    defaults={  # transformers, DeepseekV2Config
        "vocab_size": 102400,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "moe_intermediate_size": 1407,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "n_shared_experts": 2,
        "n_routed_experts": 64,
        "routed_scaling_factor": 1.0,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "qk_nope_head_dim": 128,
        "first_k_dense_replace": 0,
        "topk_method": "greedy",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
    },
)
