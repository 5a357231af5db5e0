"""What the names of the family's models in Hugging Face's folders share.

Source: transformers (models/llama), whose modules and configuration keys are named here.
"""

from __future__ import annotations

LAYER = "model.layers.{}."
"""Beginning of the names of a layer's tensors."""
TENSORS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    **{
        f"{LAYER}{theirs}.weight": f"blk.{{}}.{ours}.weight"
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
    f"{LAYER}{theirs}.bias": f"blk.{{}}.{ours}.bias"
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

SILU = {"hidden_act": ("silu",)}
