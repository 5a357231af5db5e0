"""Names of the family's parts in Hugging Face's folders, by `model_type`.

Source: transformers (models/llama, models/mistral), whose modules and configuration keys are named here.
"""

from __future__ import annotations

from zigai_core.contracts.huggingface import HuggingFaceNames

_LAYER = "model.layers.{}."
TENSORS = {
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
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        )
    },
}
BIASES = {
    f"{_LAYER}{theirs}.bias": f"blk.{{}}.{ours}.bias"
    for theirs, ours in (
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    )
}
KEYS = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
KEYS_WITHOUT_EFFECT = {
    "attention_bias": "biases are read if the folder has them",
    "mlp_bias": "biases are read if the folder has them",
    "attention_dropout": "dropout is for training",
    "initializer_range": "of random weights, for training",
    "pretraining_tp": "splits products for training; results are the same",
}
TENSORS_WITHOUT_EFFECT = {
    "model.layers.*.self_attn.rotary_emb.inv_freq": "computed from the configuration",
}

LLAMA = HuggingFaceNames(
    architecture="llama",
    tensors={**TENSORS, **BIASES},
    keys=KEYS,
    required={"hidden_act": ("silu",)},
    keys_without_effect=KEYS_WITHOUT_EFFECT,
    tensors_without_effect=TENSORS_WITHOUT_EFFECT,
)
MIXTRAL = HuggingFaceNames(
    architecture="llama",
    tensors={
        **TENSORS,
        f"{_LAYER}block_sparse_moe.gate.weight": "blk.{}.ffn_gate_inp.weight",
        f"{_LAYER}block_sparse_moe.experts.[].w1.weight": "blk.{}.ffn_gate_exps.weight",
        f"{_LAYER}block_sparse_moe.experts.[].w2.weight": "blk.{}.ffn_down_exps.weight",
        f"{_LAYER}block_sparse_moe.experts.[].w3.weight": "blk.{}.ffn_up_exps.weight",
    },
    keys={
        **KEYS,
        "sliding_window": "attention.sliding_window",
        "num_local_experts": "expert_count",
        "num_experts_per_tok": "expert_used_count",
    },
    required={"hidden_act": ("silu",)},
    keys_without_effect={
        **KEYS_WITHOUT_EFFECT,
        "output_router_logits": "for training",
        "router_aux_loss_coef": "for training",
        "router_jitter_noise": "for training",
    },
    tensors_without_effect=TENSORS_WITHOUT_EFFECT,
)
MISTRAL = HuggingFaceNames(
    architecture="llama",
    tensors=TENSORS,
    keys={**KEYS, "sliding_window": "attention.sliding_window"},
    required={"hidden_act": ("silu",)},
    keys_without_effect=KEYS_WITHOUT_EFFECT,
    tensors_without_effect=TENSORS_WITHOUT_EFFECT,
)
