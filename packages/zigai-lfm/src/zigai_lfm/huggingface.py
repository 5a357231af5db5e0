"""Names of the family's parts in Hugging Face's folders, by `model_type`.

Source: transformers (models/lfm2), whose modules and configuration keys are named here. Configurations leave
out values that are the default of their class; those of the first models have the keys of the authors' own
code beside transformers'.
"""

from __future__ import annotations

from typing import Any

from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart
from zigai_core.contracts.huggingface_values import whole

_LAYER = "model.layers.{}."
_OWN_CODE = "of the authors' own code; transformers does not read it"


def kv_heads(kinds: Any, indices: Any, count: Any, layers: Any) -> dict[str, list[int]]:
    """Returns the number of KV heads of each layer, 0 for one with a convolution.

    `layer_types` wins over `full_attn_idxs`; without both, all layers have attention.
    """
    count, layers = whole("num_key_value_heads", count), whole("num_hidden_layers", layers)
    if kinds is None:
        if indices is not None and not isinstance(indices, list):
            raise ValueError("full_attn_idxs must be an array")
        places = range(layers) if indices is None else {each for each in indices if type(each) is int}
        kinds = ["full_attention" if layer in places else "conv" for layer in range(layers)]
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise ValueError(f"layer_types must be an array of an entry for each of {layers} layers")
    for kind in kinds:
        if kind not in ("conv", "full_attention"):
            raise UnsupportedError(f"layers of {quote(kind)} are not supported")
    return {"attention.head_count_kv": [0 if kind == "conv" else count for kind in kinds]}


def hidden(own: Any, size: Any, adjusted: Any, factor: Any, multiple: Any) -> dict[str, int]:
    """Returns the width of the feed-forward layer.

    `block_ff_dim` wins over `intermediate_size`. If `block_auto_adjust_ff_dim`, two thirds of it are taken,
    times `block_ffn_dim_multiplier`, and rounded up to a multiple of `block_multiple_of`.
    """
    size = size if own is None else own
    if type(size) is not int or not 1 <= size < 1 << 31:
        raise ValueError(f"a width of {quote(size)} must be a whole number above 0")
    if not isinstance(adjusted, bool):
        raise ValueError(f"block_auto_adjust_ff_dim is {quote(adjusted)}, but must be true or false")
    if not adjusted:
        return {"feed_forward_length": size}
    size = int(2 * size / 3)
    if factor is not None:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor < 1e6:
            raise ValueError(f"block_ffn_dim_multiplier is {quote(factor)}, but must be a number above 0")
        if type(multiple) is not int or not 1 <= multiple < 1 << 31:
            raise ValueError(f"block_multiple_of is {quote(multiple)}, but must be a whole number above 0")
        size = multiple * -(-int(factor * size) // multiple)
    return {"feed_forward_length": size}


def tied(own: Any, tie: Any) -> dict[str, int]:
    """Refuses `tie_embedding` that contradicts `tie_word_embeddings`; transformers lets the first win."""
    if own is not None and own is not tie:
        raise UnsupportedError(
            f"{quote(own)} and {quote(tie)}: give both the value that is meant, true if the head is the "
            "embedding"
        )
    return {}


TENSORS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.embedding_norm.weight": "token_embd_norm.weight",
    "lm_head.weight": "output.weight",
    **{
        f"{_LAYER}{theirs}.weight": f"blk.{{}}.{ours}.weight"
        for theirs, ours in (
            ("operator_norm", "attn_norm"),
            ("ffn_norm", "ffn_norm"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.q_layernorm", "attn_q_norm"),
            ("self_attn.k_layernorm", "attn_k_norm"),
            ("self_attn.out_proj", "attn_output"),
            ("conv.in_proj", "shortconv.in_proj"),
            ("conv.out_proj", "shortconv.out_proj"),
            ("feed_forward.w1", "ffn_gate"),
            ("feed_forward.w2", "ffn_down"),
            ("feed_forward.w3", "ffn_up"),
        )
    },
    **{
        f"{_LAYER}conv.{part}.bias": f"blk.{{}}.shortconv.{part}.bias"
        for part in ("in_proj", "conv", "out_proj")
    },
}
PARTS = {  # [channels, 1, taps]
    f"{_LAYER}conv.conv.weight": [TensorPart("blk.{}.shortconv.conv.weight", lambda a: a[:, 0])],
}
KEYS = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "head_dim": "attention.key_length",
    "norm_eps": "attention.layer_norm_rms_epsilon",
    "conv_L_cache": "shortconv.l_cache",
}
KEYS_WITHOUT_EFFECT = {
    "conv_bias": "biases are read if the folder has them",
    "initializer_range": "of random weights, for training",
}
LFM2 = HuggingFaceNames(
    architecture="lfm2",
    tensors=TENSORS,
    parts=PARTS,
    keys=KEYS,
    keys_without_effect={
        **KEYS_WITHOUT_EFFECT,
        **dict.fromkeys(
            (
                *("block_dim", "block_norm_eps", "block_mlp_init_scale", "block_out_init_scale"),
                *("block_use_swiglu", "block_use_xavier_init", "conv_dim", "conv_dim_out"),
                *("conv_use_xavier_init", "num_heads", "theta", "use_pos_enc"),
            ),
            _OWN_CODE,
        ),
    },
    computed={
        ("layer_types", "full_attn_idxs", "num_key_value_heads", "num_hidden_layers"): kv_heads,
        (
            "block_ff_dim",
            "intermediate_size",
            "block_auto_adjust_ff_dim",
            "block_ffn_dim_multiplier",
            "block_multiple_of",
        ): hidden,
        ("tie_embedding", "tie_word_embeddings"): tied,
    },
    defaults={  # transformers, Lfm2Config
        "vocab_size": 65536,
        "hidden_size": 2560,
        "intermediate_size": 12288,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 128_000,
        "norm_eps": 1e-5,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": True,
        "conv_L_cache": 3,
        "block_multiple_of": 256,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": True,
    },
)

_EXPERTS = f"{_LAYER}feed_forward.experts.[]."
_GATING_BY_SIGMOID = 2


def gating(count: Any) -> dict[str, Any]:
    """Returns the number of experts, and that their scores are sigmoids."""
    return {"expert_count": count, "expert_gating_func": _GATING_BY_SIGMOID}


LFM2_MOE = HuggingFaceNames(
    architecture="lfm2moe",
    tensors={
        **TENSORS,
        f"{_LAYER}feed_forward.gate.weight": "blk.{}.ffn_gate_inp.weight",
        f"{_LAYER}feed_forward.expert_bias": "blk.{}.exp_probs_b.bias",
        f"{_EXPERTS}w1.weight": "blk.{}.ffn_gate_exps.weight",
        f"{_EXPERTS}w2.weight": "blk.{}.ffn_down_exps.weight",
        f"{_EXPERTS}w3.weight": "blk.{}.ffn_up_exps.weight",
    },
    parts=PARTS,
    keys={
        **KEYS,
        "intermediate_size": "feed_forward_length",
        "moe_intermediate_size": "expert_feed_forward_length",
        "num_dense_layers": "leading_dense_block_count",
        "num_experts_per_tok": "expert_used_count",
        "norm_topk_prob": "expert_weights_norm",
        "routed_scaling_factor": "expert_weights_scale",
    },
    keys_without_effect={
        **KEYS_WITHOUT_EFFECT,
        "output_router_logits": "for training",
        "use_expert_bias": "biases are read if the folder has them",
    },
    computed={
        ("layer_types", "full_attn_idxs", "num_key_value_heads", "num_hidden_layers"): kv_heads,
        ("tie_embedding", "tie_word_embeddings"): tied,
        "num_experts": gating,
    },
    defaults={  # transformers, Lfm2MoeConfig
        "vocab_size": 65536,
        "hidden_size": 2048,
        "intermediate_size": 7168,
        "moe_intermediate_size": 1792,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 128_000,
        "norm_eps": 1e-5,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": True,
        "conv_L_cache": 3,
        "num_dense_layers": 2,
        "num_experts_per_tok": 4,
        "num_experts": 32,
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.0,
    },
)
