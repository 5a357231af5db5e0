"""Names of the hybrid models of Granite 4 in Hugging Face's folders.

Source: transformers (models/granitemoehybrid), whose modules and configuration keys are named here.
Configurations leave out values that are the default of their class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart
from zigai_core.contracts.huggingface_values import whole
from zigai_mamba.huggingface import mixer_parts, mixer_tensors, no_limit

_LAYER = "model.layers.{}."
_TRAINING = "for training"
_READ = "biases are read if the folder has them"
_HAS_ATTENTION = {"linear_attention": False, "mamba": False, "full_attention": True, "attention": True}


def kv_heads(kinds: Any, own_kinds: Any, count: Any, heads: Any, layers: Any) -> dict[str, list[int]]:
    """Returns the number of KV heads of each layer, 0 for one with a mixer, from `layer_types`.

    `layers_block_type` is another name of `layer_types`. Without kinds, all layers have mixers; without a
    number of KV heads, it is that of heads.
    """
    if kinds is not None and own_kinds is not None and kinds != own_kinds:
        raise ValueError("layer_types and layers_block_type differ")
    kinds = own_kinds if kinds is None else kinds
    layers = whole("num_hidden_layers", layers)
    count = whole("num_attention_heads", heads) if count is None else whole("num_key_value_heads", count)
    if layers > 1 << 16:
        raise ValueError(f"num_hidden_layers is {layers}")
    kinds = ["mamba"] * layers if kinds is None else kinds
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise ValueError(f"layer_types must be an array of an entry for each of {layers} layers")
    for kind in kinds:
        if not isinstance(kind, str) or kind not in _HAS_ATTENTION:
            raise UnsupportedError(f"layers of {quote(kind)} are not supported")
    return {"attention.head_count_kv": [count if _HAS_ATTENTION[kind] else 0 for kind in kinds]}


def inner_size(expand: Any, width: Any, heads: Any, head_dim: Any) -> dict[str, int]:
    """Returns the width within a mixer; `ValueError` if it is not that of its heads."""
    inner = whole("mamba_expand", expand) * whole("hidden_size", width)
    heads = whole("mamba_n_heads", heads)
    if inner % heads or (head_dim != "auto" and whole("mamba_d_head", head_dim) != inner // heads):
        raise ValueError(f"{heads} heads of {head_dim} are not {inner} wide, mamba_expand times hidden_size")
    return {"ssm.inner_size": inner}


def positions(kind: Any) -> dict[str, bool]:
    """Returns whether attention has RoPE; `nope` stands for no positions in the published models."""
    if kind not in (None, "nope", "rope"):
        raise UnsupportedError(f"positions of the kind {quote(kind)} are not supported")
    return {"rope.scaling.finetuned": kind == "rope"}


def _factor(name: str) -> Callable[[Any], dict[str, float]]:
    """The function that gives the scale `name` from its key."""

    def factor(value: Any) -> dict[str, float]:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
            raise ValueError("it must be a number above 0")
        return {name: float(value)}

    return factor


def _halves(tensor: str, gate: str, up: str, *, each: bool = False) -> Mapping[str, list[TensorPart]]:
    """The parts of a matrix whose first half of rows is the gate; with `each`, of each expert's."""
    return {
        f"{_LAYER}{tensor}.weight": [
            TensorPart(f"blk.{{}}.{gate}.weight", lambda a: a[: len(a) // 2], each=each),
            TensorPart(f"blk.{{}}.{up}.weight", lambda a: a[len(a) // 2 :], each=each),
        ]
    }


_EXPERTS = HuggingFaceNames(
    architecture="granitehybrid",
    tensors={
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
        f"{_LAYER}input_layernorm.weight": "blk.{}.attn_norm.weight",
        f"{_LAYER}post_attention_layernorm.weight": "blk.{}.ffn_norm.weight",
        f"{_LAYER}block_sparse_moe.router.layer.weight": "blk.{}.ffn_gate_inp.weight",
        f"{_LAYER}block_sparse_moe.output_linear.weight": "blk.{}.ffn_down_exps.weight",
        f"{_LAYER}shared_mlp.output_linear.weight": "blk.{}.ffn_down_shexp.weight",
        **{
            f"{_LAYER}self_attn.{theirs}_proj.{kind}": f"blk.{{}}.{ours}.{kind}"
            for theirs, ours in (("q", "attn_q"), ("k", "attn_k"), ("v", "attn_v"), ("o", "attn_output"))
            for kind in ("weight", "bias")
        },
        **mixer_tensors(f"{_LAYER}mamba"),
    },
    parts={
        **mixer_parts(f"{_LAYER}mamba", "mamba_n_groups"),
        **_halves("block_sparse_moe.input_linear", "ffn_gate_exps", "ffn_up_exps", each=True),
        **_halves("shared_mlp.input_linear", "ffn_gate_shexp", "ffn_up_shexp"),
    },
    keys={
        "vocab_size": "vocab_size",
        "max_position_embeddings": "context_length",
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "head_dim": "attention.key_length",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "mamba_n_heads": "ssm.time_step_rank",
        "mamba_n_groups": "ssm.group_count",
        "mamba_d_state": "ssm.state_size",
        "mamba_d_conv": "ssm.conv_kernel",
        "num_local_experts": "expert_count",
        "num_experts_per_tok": "expert_used_count",
        "shared_intermediate_size": "expert_shared_feed_forward_length",
    },
    required={"hidden_act": ("silu",), "normalization_function": ("rmsnorm", None)},
    keys_without_effect={
        "attention_bias": _READ,
        "attention_dropout": _TRAINING,
        "init_method": _TRAINING,
        "initializer_range": _TRAINING,
        "mamba_chunk_size": "the tokens of a chunk that is computed at once; results are the same",
        "mamba_conv_bias": _READ,
        "mamba_proj_bias": _READ,
        "output_router_logits": _TRAINING,
        "router_aux_loss_coef": _TRAINING,
    },
    computed={
        (
            "layer_types",
            "layers_block_type",
            "num_key_value_heads",
            "num_attention_heads",
            "num_hidden_layers",
        ): kv_heads,
        ("mamba_expand", "hidden_size", "mamba_n_heads", "mamba_d_head"): inner_size,
        "time_step_limit": no_limit,
        "position_embedding_type": positions,
        "embedding_multiplier": _factor("embedding_scale"),
        "residual_multiplier": _factor("residual_scale"),
        "attention_multiplier": _factor("attention.scale"),
        "logits_scaling": _factor("logit_scale"),
    },
    defaults={  # transformers, GraniteMoeHybridConfig
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "shared_intermediate_size": 1024,
        "embedding_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "attention_multiplier": 1.0,
        "logits_scaling": 1.0,
        "mamba_n_heads": 128,
        "mamba_n_groups": 1,
        "mamba_d_state": 256,
        "mamba_d_head": "auto",
        "mamba_d_conv": 4,
        "mamba_expand": 2,
        "position_embedding_type": None,
    },
)
_OF_EXPERTS = ("num_local_experts", "num_experts_per_tok", "intermediate_size", "shared_intermediate_size")
_DENSE = replace(
    _EXPERTS,
    tensors={
        theirs: ours.replace("_shexp", "") for theirs, ours in _EXPERTS.tensors.items() if "moe" not in theirs
    },
    parts={
        **{theirs: made for theirs, made in _EXPERTS.parts.items() if ".mamba." in theirs},
        **_halves("shared_mlp.input_linear", "ffn_gate", "ffn_up"),
    },
    keys={
        **{key: name for key, name in _EXPERTS.keys.items() if key not in _OF_EXPERTS},
        "shared_intermediate_size": "feed_forward_length",
    },
    required={**_EXPERTS.required, "num_local_experts": (0,)},
    keys_without_effect={
        **_EXPERTS.keys_without_effect,
        "intermediate_size": "of experts, which the model does not have",
        "num_experts_per_tok": "of experts, which the model does not have",
    },
)
GRANITE_HYBRID = replace(_EXPERTS, variants={("num_local_experts", 0): _DENSE})
