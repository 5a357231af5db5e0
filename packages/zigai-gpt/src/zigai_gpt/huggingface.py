"""Names of the family's parts in Hugging Face's folders, by `model_type`.

Source: transformers (models/gpt_oss), whose modules and configuration keys are named here. Configurations
leave out values that are the default of their class. Experts are stored as MXFP4, in rows of outputs as GGUF
has them, or as numbers of 16 or 32 bits, in rows of inputs; gate and up are neighbours in both.
"""

from __future__ import annotations

from typing import Any

from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart
from zigai_core.contracts.huggingface_windows import window_of_some_layers, windows_by_layer_types

_LAYER = "model.layers.{}."
_EXPERTS = f"{_LAYER}mlp.experts."
_TRAINING = "for training"
_ORIGINAL = "original_max_position_embeddings"
_YARN = {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False}
"""The settings of RoPE of a configuration without any: `GptOssConfig`."""


def _rope(parameters: Any, scaling: Any, _context: Any) -> dict[str, Any]:
    """What transformers makes of RoPE's settings: YaRN without any, and whole bounds without `truncate`."""
    given = parameters or scaling
    if not given:
        return {
            "rope.scaling.type": _YARN["rope_type"],
            "rope.scaling.factor": _YARN["factor"],
            "rope.scaling.original_context_length": 4096,
            "rope.scaling.yarn_beta_fast": _YARN["beta_fast"],
            "rope.scaling.yarn_beta_slow": _YARN["beta_slow"],
            "rope.scaling.yarn_truncate": _YARN["truncate"],
        }
    yarn = given.get("rope_type", given.get("type")) == "yarn"
    return {"rope.scaling.yarn_truncate": given.get("truncate", True)} if yarn else {}


GPT_OSS = HuggingFaceNames(
    architecture="gpt-oss",
    tensors={
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
        f"{_LAYER}input_layernorm.weight": "blk.{}.attn_norm.weight",
        f"{_LAYER}post_attention_layernorm.weight": "blk.{}.post_attention_norm.weight",
        f"{_LAYER}self_attn.sinks": "blk.{}.attn_sinks.weight",
        f"{_EXPERTS}down_proj_bias": "blk.{}.ffn_down_exps.bias",
        **{
            f"{_LAYER}{theirs}.{kind}": f"blk.{{}}.{ours}.{kind}"
            for theirs, ours in (
                ("self_attn.q_proj", "attn_q"),
                ("self_attn.k_proj", "attn_k"),
                ("self_attn.v_proj", "attn_v"),
                ("self_attn.o_proj", "attn_output"),
                ("mlp.router", "ffn_gate_inp"),
            )
            for kind in ("weight", "bias")
        },
    },
    parts={
        f"{_EXPERTS}gate_up_proj": [
            TensorPart("blk.{}.ffn_gate_exps.weight", lambda a: a[:, ::2].T, each=True),
            TensorPart("blk.{}.ffn_up_exps.weight", lambda a: a[:, 1::2].T, each=True),
            TensorPart("blk.{}.ffn_gate_exps.weight", lambda a: a[:, ::2], stored="MXFP4"),
            TensorPart("blk.{}.ffn_up_exps.weight", lambda a: a[:, 1::2], stored="MXFP4"),
        ],
        f"{_EXPERTS}gate_up_proj_bias": [
            TensorPart("blk.{}.ffn_gate_exps.bias", lambda a: a[:, ::2]),
            TensorPart("blk.{}.ffn_up_exps.bias", lambda a: a[:, 1::2]),
        ],
        f"{_EXPERTS}down_proj": [
            TensorPart("blk.{}.ffn_down_exps.weight", lambda a: a.T, each=True),
            TensorPart("blk.{}.ffn_down_exps.weight", lambda a: a, stored="MXFP4"),
        ],
    },
    keys={
        "vocab_size": "vocab_size",
        "max_position_embeddings": "context_length",
        "hidden_size": "embedding_length",
        "intermediate_size": "expert_feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "sliding_window": "attention.sliding_window",
        "num_local_experts": "expert_count",
        "num_experts": "expert_count",
        "num_experts_per_tok": "expert_used_count",
        "swiglu_limit": "swiglu_clamp_exp",
    },
    required={
        "hidden_act": ("silu",),  # a name; the gate is as `swiglu_alpha` and `swiglu_limit` say
        "swiglu_alpha": (1.702,),
    },
    keys_without_effect={
        "attention_bias": "biases are read if the folder has them",
        "attention_dropout": "dropout is for training",
        "experts_per_token": "OpenAI's name of num_experts_per_tok, which transformers reads",
        "initial_context_length": "OpenAI's name of the original context, which stands in RoPE's settings",
        "initializer_range": "of random weights, for training",
        "output_router_logits": _TRAINING,
        "router_aux_loss_coef": _TRAINING,
    },
    computed={
        ("rope_parameters", "rope_scaling", "max_position_embeddings"): _rope,
        "layer_types": windows_by_layer_types,
        "sliding_window": window_of_some_layers,
    },
    defaults={  # transformers, GptOssConfig
        "vocab_size": 201088,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_hidden_layers": 36,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "sliding_window": 128,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "swiglu_limit": 7.0,
        "rope_theta": 150000.0,
    },
)
