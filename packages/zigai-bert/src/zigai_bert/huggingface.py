"""Names of the family's parts in Hugging Face's folders, by `model_type`.

Source: transformers (models/bert, nomic_bert, modernbert, and conversion_mapping.py for older checkpoints of
Nomic BERT), whose modules and configuration keys are named here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames

_OTHER_HEAD = "of a head for another task, which embeddings do not have"
_DROPOUT = "dropout is for training"
_KEYS = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
}
_KEYS_WITHOUT_EFFECT = {
    "initializer_range": "of random weights, for training",
    "hidden_dropout_prob": _DROPOUT,
    "attention_probs_dropout_prob": _DROPOUT,
    "classifier_dropout": _DROPOUT,
    "type_vocab_size": "the rows of the embedding of types",
}


def _tensors(
    prefixes: Sequence[str],
    single: Mapping[str, str],
    layers: str,
    parts: Mapping[str, str],
    kinds: Sequence[str] = ("weight", "bias"),
) -> dict[str, str]:
    """The names of weights and biases, or of one of these `kinds`, under each of `prefixes`.

    `layers` is the name of a layer.
    """
    found: dict[str, str] = {}
    for prefix in prefixes:
        for kind in kinds:
            found |= {f"{prefix}{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in single.items()}
            found |= {
                f"{prefix}{layers}.{theirs}.{kind}": f"blk.{{}}.{ours}.{kind}"
                for theirs, ours in parts.items()
            }
    return found


def _old_norms(tensors: Mapping[str, str]) -> dict[str, str]:
    """The names that norms have in checkpoints of TensorFlow, too: gamma and beta."""
    found = dict(tensors)
    for theirs, ours in tensors.items():
        if theirs.endswith("LayerNorm.weight"):
            found[theirs.removesuffix("weight") + "gamma"] = ours
        if theirs.endswith("LayerNorm.bias"):
            found[theirs.removesuffix("bias") + "beta"] = ours
    return found


def _causal(value: Any) -> dict[str, bool]:
    """`attention.causal` from `is_decoder`, so that GGUF files say that there is none."""
    if not isinstance(value, bool):
        raise ValueError("it must be true or false")
    return {"attention.causal": value}


def _encoder(heads: Any) -> dict[str, bool]:
    """`attention.causal`, which GGUF files of encoders need; of a key that is always there."""
    return {"attention.causal": False}


BERT = HuggingFaceNames(
    architecture="bert",
    tensors=_old_norms(
        _tensors(
            ["", "bert."],
            {
                "embeddings.word_embeddings": "token_embd",
                "embeddings.position_embeddings": "position_embd",
                "embeddings.token_type_embeddings": "token_types",
                "embeddings.LayerNorm": "token_embd_norm",
            },
            "encoder.layer.{}",
            {
                "attention.self.query": "attn_q",
                "attention.self.key": "attn_k",
                "attention.self.value": "attn_v",
                "attention.output.dense": "attn_output",
                "attention.output.LayerNorm": "attn_output_norm",
                "intermediate.dense": "ffn_up",
                "output.dense": "ffn_down",
                "output.LayerNorm": "layer_output_norm",
            },
        )
    ),
    keys={**_KEYS, "layer_norm_eps": "attention.layer_norm_epsilon"},
    required={"hidden_act": ("gelu",), "position_embedding_type": ("absolute", None)},
    keys_without_effect=_KEYS_WITHOUT_EFFECT,
    tensors_without_effect={
        "*embeddings.position_ids": "the numbers from 0 on",
        "*pooler.dense.*": _OTHER_HEAD,
        "cls.*": _OTHER_HEAD,
    },
    computed={"is_decoder": _causal},
    defaults={
        "is_decoder": False,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "vocab_size": 30522,
        "layer_norm_eps": 1e-12,
    },
)
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
        **_tensors(
            ["", "nomic_bert."],
            {**_NOMIC_SINGLE, "embeddings.LayerNorm": "token_embd_norm"},
            "layers.{}",
            _NOMIC_PARTS,
        ),
        **_tensors(
            [""], {**_NOMIC_SINGLE, "emb_ln": "token_embd_norm"}, "encoder.layers.{}", _NOMIC_OLD_PARTS
        ),
    },
    keys={
        **_KEYS,
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
        **_KEYS_WITHOUT_EFFECT,
        **dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop", "summary_first_dropout"), _DROPOUT),
        **dict.fromkeys(
            (
                "summary_activation",
                "summary_proj_to_labels",
                "summary_type",
                "summary_use_proj",
                "use_xentropy",
            ),
            _OTHER_HEAD,
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
    tensors_without_effect={"lm_head.*": _OTHER_HEAD, "cls.*": _OTHER_HEAD},
    computed={
        "num_attention_heads": _encoder,
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


def _flags(kinds: Any, period: Any) -> dict[str, Any]:
    """Which layers have the window, from `layer_types`, else from `global_attn_every_n_layers`."""
    if kinds is None:
        if period is None:
            return {}
        if type(period) is not int or period < 1:
            raise ValueError("global_attn_every_n_layers must be a whole number above 0")
        return {"attention.sliding_window_pattern": period}
    if not isinstance(kinds, list):
        raise ValueError("layer_types must be an array")
    known = {"full_attention": False, "sliding_attention": True}
    unknown = next((kind for kind in kinds if not isinstance(kind, str) or kind not in known), None)
    if unknown is not None:
        raise UnsupportedError(f"layers of {quote(unknown)} are not supported")
    return {"attention.sliding_window_pattern": [known[kind] for kind in kinds]}


def _base(value: Any, parameters: Any) -> dict[str, float]:
    """RoPE's base of layers without a window, of transformers 4; one in `rope_parameters` comes before it."""
    full = parameters.get("full_attention") if isinstance(parameters, dict) else None
    if value is None or (isinstance(full, dict) and full.get("rope_theta") is not None):
        return {}
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value < 1e30:
        raise ValueError("a base of RoPE must be a number of 1 or more")
    return {"rope.freq_base": float(value)}


MODERNBERT = HuggingFaceNames(
    architecture="modern-bert",
    tensors=_tensors(
        ["", "model."],
        {
            "embeddings.tok_embeddings": "token_embd",
            "embeddings.norm": "token_embd_norm",
            "final_norm": "output_norm",
        },
        "layers.{}",
        {
            "attn_norm": "attn_norm",
            "attn.Wqkv": "attn_qkv",
            "attn.Wo": "attn_output",
            "mlp_norm": "ffn_norm",
            "mlp.Wi": "ffn_up",
            "mlp.Wo": "ffn_down",
        },
        ["weight"],
    ),
    keys={
        **_KEYS,
        "norm_eps": "attention.layer_norm_epsilon",
        "local_attention": "attention.sliding_window",
        "hidden_activation": "hidden_activation",
        "local_rope_theta": "rope.freq_base_swa",
    },
    required={
        "position_embedding_type": ("absolute", "sans_pos", None),
        **dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias"), (False,)),  # no model has them
    },
    keys_without_effect={
        **_KEYS_WITHOUT_EFFECT,
        **dict.fromkeys(("attention_dropout", "embedding_dropout", "mlp_dropout"), _DROPOUT),
        **dict.fromkeys(
            (
                "classifier_activation",
                "classifier_bias",
                "classifier_pooling",
                "decoder_bias",
                "sparse_pred_ignore_index",
                "sparse_prediction",
            ),
            _OTHER_HEAD,
        ),
        "initializer_cutoff_factor": "of random weights, for training",
        "cls_token_id": "read from the tokenizer",
        "deterministic_flash_attn": "how transformers computes",
        "reference_compile": "how transformers computes",
        "repad_logits_with_grad": "how transformers computes",
        "layer_norm_eps": "transformers reads norm_eps",
    },
    tensors_without_effect={"head.*": _OTHER_HEAD, "decoder.*": _OTHER_HEAD},
    computed={
        "num_attention_heads": _encoder,
        ("layer_types", "global_attn_every_n_layers"): _flags,
        ("global_rope_theta", "rope_parameters"): _base,
    },
    defaults={
        "hidden_size": 768,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "intermediate_size": 1152,
        "max_position_embeddings": 8192,
        "vocab_size": 50368,
        "norm_eps": 1e-5,
        "local_attention": 128,
        "hidden_activation": "gelu",
        "global_rope_theta": 160000.0,
    },
)
