"""Names of the family's parts in Hugging Face's folders, by `model_type`.

Source: transformers (models/qwen2, models/qwen3), whose modules and configuration keys are named here.
"""

from __future__ import annotations

from zigai_core.contracts.huggingface import HuggingFaceNames

LAYER = "model.layers.{}."
TENSORS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    **{
        f"{LAYER}{theirs}.{kind}": f"blk.{{}}.{ours}.{kind}"
        for theirs, ours, kinds in (
            ("input_layernorm", "attn_norm", ("weight",)),
            ("self_attn.q_proj", "attn_q", ("weight", "bias")),
            ("self_attn.k_proj", "attn_k", ("weight", "bias")),
            ("self_attn.v_proj", "attn_v", ("weight", "bias")),
            ("self_attn.o_proj", "attn_output", ("weight", "bias")),
            ("post_attention_layernorm", "ffn_norm", ("weight",)),
            ("mlp.gate_proj", "ffn_gate", ("weight",)),
            ("mlp.up_proj", "ffn_up", ("weight",)),
            ("mlp.down_proj", "ffn_down", ("weight",)),
        )
        for kind in kinds
    },
}
KEYS = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
REQUIRED = {"hidden_act": ("silu",), "use_sliding_window": (False,)}
KEYS_WITHOUT_EFFECT = {
    "attention_bias": "biases are read if the folder has them",
    "attention_dropout": "dropout is for training",
    "initializer_range": "of random weights, for training",
    "max_window_layers": "layers with a window, which use_sliding_window turns off",
    "sliding_window": "turned off by use_sliding_window",
    "layer_types": "full attention in every layer, as use_sliding_window is off",
}

QWEN2 = HuggingFaceNames(
    architecture="qwen2",
    tensors=TENSORS,
    keys=KEYS,
    required=REQUIRED,
    keys_without_effect=KEYS_WITHOUT_EFFECT,
)
QWEN3 = HuggingFaceNames(
    architecture="qwen3",
    tensors={
        **TENSORS,
        f"{LAYER}self_attn.q_norm.weight": "blk.{}.attn_q_norm.weight",
        f"{LAYER}self_attn.k_norm.weight": "blk.{}.attn_k_norm.weight",
    },
    keys={**KEYS, "head_dim": "attention.key_length"},
    required=REQUIRED,
    keys_without_effect=KEYS_WITHOUT_EFFECT,
)

EXPERTS = {
    f"{LAYER}mlp.gate.weight": "blk.{}.ffn_gate_inp.weight",
    **{
        f"{LAYER}mlp.experts.[].{part}_proj.weight": f"blk.{{}}.ffn_{part}_exps.weight"
        for part in ("gate", "up", "down")
    },
}
EXPERT_KEYS = {
    "num_experts": "expert_count",
    "num_local_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
    "norm_topk_prob": "expert_weights_norm",
}
EXPERTS_REQUIRED = {**REQUIRED, "decoder_sparse_step": (1,), "mlp_only_layers": ([], None)}
EXPERT_KEYS_WITHOUT_EFFECT = {
    **KEYS_WITHOUT_EFFECT,
    "qkv_bias": "biases are read if the folder has them",
    "output_router_logits": "for training",
    "router_aux_loss_coef": "for training",
}

SHARED_EXPERT = {
    f"{LAYER}mlp.shared_expert_gate.weight": "blk.{}.ffn_gate_inp_shexp.weight",
    **{
        f"{LAYER}mlp.shared_expert.{part}_proj.weight": f"blk.{{}}.ffn_{part}_shexp.weight"
        for part in ("gate", "up", "down")
    },
}

QWEN2_MOE = HuggingFaceNames(
    architecture="qwen2moe",
    tensors={**TENSORS, **EXPERTS, **SHARED_EXPERT},
    keys={**KEYS, **EXPERT_KEYS, "shared_expert_intermediate_size": "expert_shared_feed_forward_length"},
    required=EXPERTS_REQUIRED,
    keys_without_effect=EXPERT_KEYS_WITHOUT_EFFECT,
)
QWEN3_MOE = HuggingFaceNames(
    architecture="qwen3moe",
    tensors={**QWEN3.tensors, **EXPERTS},
    keys={**QWEN3.keys, **EXPERT_KEYS},
    required=EXPERTS_REQUIRED,
    keys_without_effect=EXPERT_KEYS_WITHOUT_EFFECT,
    defaults={"norm_topk_prob": False},  # files of GGUF that do not say so are normalised
)
