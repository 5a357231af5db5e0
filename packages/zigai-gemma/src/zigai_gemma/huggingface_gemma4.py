"""Names of Gemma 4's parts in Hugging Face's folders, by `model_type`.

Source: transformers (models/gemma4), whose modules and configuration keys are named here. Norms are stored as
they are, unlike those of earlier members.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart
from zigai_core.contracts.huggingface_values import whole
from zigai_core.contracts.huggingface_windows import window_of_some_layers, windows_by_layer_types
from zigai_gemma.huggingface import cap
from zigai_gemma.huggingface_per_layer import layer_of, shared_tensors

_PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_feedforward_layernorm": "post_ffw_norm",
    "router.proj": "ffn_gate_inp",
    "pre_feedforward_layernorm_2": "pre_ffw_norm_2",
    "post_feedforward_layernorm_1": "post_ffw_norm_1",
    "post_feedforward_layernorm_2": "post_ffw_norm_2",
    "per_layer_input_gate": "inp_gate",
    "per_layer_projection": "proj",
    "post_per_layer_input_norm": "post_norm",
}
_WHOLE = {
    "layer_scalar": "layer_output_scale.weight",
    "router.scale": "ffn_gate_inp.scale",
    "router.per_expert_scale": "ffn_down_exps.scale",
    "experts.down_proj": "ffn_down_exps.weight",
}


def _tensors(prefix: str) -> dict[str, str]:
    """The names of tensors of a model under `prefix`."""
    layer = layer_of(prefix)
    return {
        **shared_tensors(prefix),
        **{f"{layer}{theirs}.weight": f"blk.{{}}.{ours}.weight" for theirs, ours in _PARTS.items()},
        **{f"{layer}{theirs}": f"blk.{{}}.{ours}" for theirs, ours in _WHOLE.items()},
    }


def _experts(prefix: str) -> dict[str, list[TensorPart]]:
    """Gate and up of each expert, whose rows follow each other."""
    return {
        f"{prefix}layers.{{}}.experts.gate_up_proj": [
            TensorPart("blk.{}.ffn_gate_exps.weight", lambda a: a[: len(a) // 2], each=True),
            TensorPart("blk.{}.ffn_up_exps.weight", lambda a: a[len(a) // 2 :], each=True),
        ]
    }


def _kinds(kinds: Any, layers: Any) -> list[bool]:
    """Whether each layer has the window: by default five of six, and never the last one."""
    if kinds is None:
        flags = [(number + 1) % 6 != 0 for number in range(whole("num_hidden_layers", layers))]
    else:
        flags = windows_by_layer_types(kinds)["attention.sliding_window_pattern"]
    return [*flags[:-1], False]


def _windows(kinds: Any, layers: Any) -> dict[str, Any]:
    return {"attention.sliding_window_pattern": _kinds(kinds, layers)}


def _heads(
    dim: Any, full_dim: Any, kv: Any, full_kv: Any, k_eq_v: Any, overrides: Any, kinds: Any, layers: Any
) -> dict[str, Any]:
    """The width of heads and the number of KV heads, of which full layers may have others.

    They stand in keys of their own, or in `per_layer_config` under the number of each full layer.
    Whether the values of full layers are the projection to keys is passed on, if the folder says so.
    """
    if k_eq_v is not None and not isinstance(k_eq_v, bool):
        raise ValueError(f"attention_k_eq_v must be true or false, not {quote(k_eq_v)}")
    flags = _kinds(kinds, layers)
    if overrides is None:
        full_dim = 512 if full_dim is None else full_dim
        full_kv = full_kv if k_eq_v and full_kv is not None else kv
    else:
        found = _overrides(overrides, {"head_dim": dim, "num_key_value_heads": kv}, flags)
        full_dim, full_kv = found["head_dim"], found["num_key_value_heads"]
    full, local = whole("global_head_dim", full_dim), whole("head_dim", dim)
    counts = [whole("num_key_value_heads", kv if windowed else full_kv) for windowed in flags]
    return {
        "attention.key_length": full,
        "attention.value_length": full,
        "attention.key_length_swa": local,
        "attention.value_length_swa": local,
        "rope.dimension_count": full,
        "rope.dimension_count_swa": local,
        "attention.head_count_kv": counts[0] if len({*counts}) == 1 else counts,
        **({} if k_eq_v is None else {"attention.k_eq_v": k_eq_v}),
    }


def _overrides(given: Any, general: Mapping[str, Any], flags: list[bool]) -> dict[str, Any]:
    """What holds in full layers. `UnsupportedError` for layers of one kind that differ, or in other keys."""
    if not isinstance(given, dict) or not all(isinstance(each, dict) for each in given.values()):
        raise ValueError("per_layer_config must hold an object for each number of a layer")
    numbers = {str(number) for number in range(len(flags))}
    for number, own in given.items():
        unknown = {*own} - {*general}
        if number not in numbers or unknown:
            what = f"key {quote(min(unknown))}" if unknown else f"layer {quote(number)}"
            raise UnsupportedError(f"per_layer_config with the {what} is not supported")
    by_kind: dict[bool, dict[str, Any]] = {True: dict(general)}
    for number, windowed in enumerate(flags):
        own = {**general, **given.get(str(number), {})}
        if by_kind.setdefault(windowed, own) != own:
            raise UnsupportedError(f"per_layer_config: layer {number} differs from others of its kind")
    return by_kind[False]


def _hidden(width: Any, wide: Any, shared: Any, layers: Any) -> dict[str, Any]:
    """The hidden width of each layer, which layers without a cache of their own may have twice."""
    if not wide or not shared:
        return {}
    width, count, last = whole("intermediate_size", width), whole("num_hidden_layers", layers), shared
    own = count - whole("num_kv_shared_layers", last)
    return {"feed_forward_length": [width if number < own else 2 * width for number in range(count)]}


def _mixture(enabled: Any, count: Any, used: Any, hidden: Any) -> dict[str, Any]:
    """The sizes of the experts, if the model has any."""
    if not enabled:
        return {}
    return {
        "expert_count": whole("num_experts", count),
        "expert_used_count": whole("top_k_experts", used),
        "expert_feed_forward_length": whole("moe_intermediate_size", hidden),
    }


_TRAINING = "for training"
GEMMA4_TEXT = HuggingFaceNames(
    architecture="gemma4",
    tensors=_tensors("model."),
    parts=_experts("model."),
    keys={
        "vocab_size": "vocab_size",
        "max_position_embeddings": "context_length",
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "num_kv_shared_layers": "attention.shared_kv_layers",
        "hidden_size_per_layer_input": "embedding_length_per_layer_input",
    },
    required={
        "hidden_activation": ("gelu_pytorch_tanh",),
        "use_bidirectional_attention": (None, "vision"),  # of images alone
    },
    keys_without_effect={
        "attention_bias": "biases are read if the folder has them",
        "attention_dropout": _TRAINING,
        "initializer_range": _TRAINING,
        "vocab_size_per_layer_input": "the table has as many rows",
        "output_router_logits": _TRAINING,
    },
    computed={
        ("layer_types", "num_hidden_layers"): _windows,
        (
            "head_dim",
            "global_head_dim",
            "num_key_value_heads",
            "num_global_key_value_heads",
            "attention_k_eq_v",
            "per_layer_config",
            "layer_types",
            "num_hidden_layers",
        ): _heads,
        ("intermediate_size", "use_double_wide_mlp", "num_kv_shared_layers", "num_hidden_layers"): _hidden,
        ("enable_moe_block", "num_experts", "top_k_experts", "moe_intermediate_size"): _mixture,
        "sliding_window": window_of_some_layers,
        # Without the hyperparameter llama.cpp caps logits at 30, so that none is written as 0.
        "final_logit_softcapping": cap("final_logit_softcapping", default=True),
    },
    defaults={  # transformers, Gemma4TextConfig
        "vocab_size": 262144,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 30,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "sliding_window": 512,
        "hidden_size_per_layer_input": 256,
        "num_kv_shared_layers": 0,
        "final_logit_softcapping": None,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {
                "rope_type": "proportional",
                "partial_rotary_factor": 0.25,
                "rope_theta": 1000000.0,
            },
        },
    },
)
_OTHERS = "images, videos and sounds are not supported, texts are"
GEMMA4 = dataclasses.replace(
    GEMMA4_TEXT,
    tensors=_tensors("model.language_model."),
    parts=_experts("model.language_model."),
    keys_without_effect={
        **GEMMA4_TEXT.keys_without_effect,
        **dict.fromkeys(
            (
                *("vision_config", "audio_config", "boi_token_id", "eoi_token_id", "image_token_id"),
                *("video_token_id", "boa_token_id", "eoa_token_id", "eoa_token_index", "audio_token_id"),
                "vision_soft_tokens_per_image",
            ),
            _OTHERS,
        ),
    },
    unsupported_tensors={
        f"model.{part}.*": _OTHERS for part in ("vision_tower", "embed_vision", "audio_tower", "embed_audio")
    },
    section="text_config",
)
"""Gemma 4 as it is published, whose texts are one part of a model of texts, images and sounds."""
_INPUTS = "hidden_size_per_layer_input"
GEMMA4_UNIFIED_TEXT = dataclasses.replace(
    GEMMA4_TEXT,
    keys={key: name for key, name in GEMMA4_TEXT.keys.items() if key != _INPUTS},
    required={**GEMMA4_TEXT.required, "use_bidirectional_attention": ("vision", None)},
    computed={
        **GEMMA4_TEXT.computed,
        "num_hidden_layers": lambda _: {"embedding_length_per_layer_input": 0},  # layers have no inputs
    },
    defaults={
        **{key: value for key, value in GEMMA4_TEXT.defaults.items() if key != _INPUTS},
        "max_position_embeddings": 262144,
        "sliding_window": 1024,
    },
)
"""Gemma 4 of 12B, whose texts are the same model, without experts and without inputs of layers."""
GEMMA4_UNIFIED = dataclasses.replace(
    GEMMA4_UNIFIED_TEXT,
    tensors=GEMMA4.tensors,
    parts=GEMMA4.parts,
    keys_without_effect=GEMMA4.keys_without_effect,
    unsupported_tensors=GEMMA4.unsupported_tensors,
    section="text_config",
)
