"""Names of the parts of Qwen3-Next and Qwen3.5 in Hugging Face's folders, by `model_type`.

Source: transformers (models/qwen3_next, qwen3_5 and qwen3_5_moe), whose modules and configuration keys are
named here; the forms of tensors in GGUF are those of llama.cpp's converter (conversion/qwen.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart
from zigai_core.contracts.huggingface_values import rotated_elements, whole
from zigai_qwen.huggingface import (
    EXPERT_KEYS,
    EXPERT_KEYS_WITHOUT_EFFECT,
    EXPERTS,
    KEYS,
    KEYS_WITHOUT_EFFECT,
    LAYER,
    QWEN3,
    SHARED_EXPERT,
)
from zigai_qwen.huggingface_images import of_images

Elements = np.ndarray[Any, Any]

_HEADS = ("linear_num_key_heads", "linear_num_value_heads")
_WIDTHS = ("linear_key_head_dim", "linear_value_head_dim")
_NET = f"{LAYER}linear_attn."
_AHEAD = "tokens further ahead than the next one are not predicted"


def _fused(a: Elements, key_heads: int, heads: int, key_dim: int, value_dim: int) -> list[Elements]:
    """Queries, keys, values and gates, which are stored for one key head after the other."""
    rest, values = a.shape[1:], heads // key_heads * value_dim
    of_heads = a.reshape(key_heads, 2 * (key_dim + values), *rest)
    ends = (key_dim, 2 * key_dim, 2 * key_dim + values)
    return [part.reshape(-1, *rest) for part in np.split(of_heads, ends, axis=1)]


def _tiled(a: Elements, key_heads: int, heads: int) -> Elements:
    """Rows of value heads, of which those of one key head follow each other, `key_heads` apart."""
    rest = a.shape[1:]
    of_heads = a.reshape(key_heads, heads // key_heads, len(a) // heads, *rest)
    return of_heads.swapaxes(0, 1).reshape(a.shape)


def _values_tiled(a: Elements, key_heads: int, heads: int, key_dim: int) -> Elements:
    """Rows of queries and keys, and then `_tiled` those of values."""
    keys = 2 * key_heads * key_dim
    return np.concatenate([a[:keys], _tiled(a[keys:], key_heads, heads)])


def _rotated(share: Any, head_dim: Any) -> dict[str, int]:
    """The number of rotated elements of a head; a quarter of them by default."""
    size = whole("head_dim", head_dim)
    return {"rope.dimension_count": rotated_elements(share, size, None, None, default=0.25)[0]}


def _inner(width: Any, heads: Any) -> dict[str, int]:
    """The width of the values of all heads of a delta net."""
    return {"ssm.inner_size": whole("linear_value_head_dim", width) * whole("linear_num_value_heads", heads)}


def _layers(kinds: Any, interval: Any, layers: Any) -> Mapping[str, Any]:
    """The kinds of layers: by name, or with attention in every n-th one, which then has no effect."""
    period = {"full_attention_interval": 4 if interval is None else interval}
    if kinds is None:
        return period
    known = ("linear_attention", "full_attention")
    if not isinstance(kinds, list) or len(kinds) != layers or any(kind not in known for kind in kinds):
        raise ValueError(f"it must hold {' or '.join(known)} for each of the layers")
    return {**period, "attention.recurrent_layers": [kind == known[0] for kind in kinds]}


_HYBRID = HuggingFaceNames(
    architecture="",
    tensors={
        **QWEN3.tensors,
        f"{LAYER}post_attention_layernorm.weight": "blk.{}.post_attention_norm.weight",
        f"{_NET}norm.weight": "blk.{}.ssm_norm.weight",
    },
    parts={
        f"{_NET}conv1d.weight": [TensorPart("blk.{}.ssm_conv1d.weight", lambda a: a[:, 0])],
        f"{_NET}A_log": [TensorPart("blk.{}.ssm_a", lambda a: -np.exp(a), computes=True)],
    },
    keys={
        **KEYS,
        "head_dim": "attention.key_length",
        "linear_conv_kernel_dim": "ssm.conv_kernel",
        "linear_key_head_dim": "ssm.state_size",
        "linear_num_key_heads": "ssm.group_count",
        "linear_num_value_heads": "ssm.time_step_rank",
    },
    computed={
        ("partial_rotary_factor", "head_dim"): _rotated,
        ("linear_value_head_dim", "linear_num_value_heads"): _inner,
        ("layer_types", "full_attention_interval", "num_hidden_layers"): _layers,
    },
    added=dict.fromkeys(
        (
            "output_norm.weight",
            *(f"*.{part}_norm.weight" for part in ("attn", "post_attention", "attn_q", "attn_k")),
        ),
        1.0,
    ),
    required={"hidden_act": ("silu",)},
    keys_without_effect={
        key: KEYS_WITHOUT_EFFECT[key] for key in ("attention_bias", "attention_dropout", "initializer_range")
    },
    unsupported_tensors={"mtp.*": _AHEAD},
    defaults={
        "partial_rotary_factor": 0.25,
        "head_dim": 256,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
    },
)

QWEN3_NEXT = dataclasses.replace(
    _HYBRID,
    architecture="qwen3next",
    tensors={
        **_HYBRID.tensors,
        **EXPERTS,
        **SHARED_EXPERT,
        f"{_NET}in_proj_ba.weight": "blk.{}.ssm_ba.weight",
        f"{_NET}dt_bias": "blk.{}.ssm_dt.bias",
        f"{_NET}out_proj.weight": "blk.{}.ssm_out.weight",
    },
    parts={
        **_HYBRID.parts,
        f"{_NET}in_proj_qkvz.weight": [
            TensorPart(
                "blk.{}.attn_qkv.weight",
                lambda a, *sizes: np.concatenate(_fused(a, *sizes)[:3]),
                sizes=_HEADS + _WIDTHS,
            ),
            TensorPart(
                "blk.{}.attn_gate.weight", lambda a, *sizes: _fused(a, *sizes)[3], sizes=_HEADS + _WIDTHS
            ),
        ],
    },
    keys={
        **_HYBRID.keys,
        **EXPERT_KEYS,
        "shared_expert_intermediate_size": "expert_shared_feed_forward_length",
    },
    required={**_HYBRID.required, "decoder_sparse_step": (1,), "mlp_only_layers": ([], None)},
    keys_without_effect={
        **_HYBRID.keys_without_effect,
        **{key: EXPERT_KEYS_WITHOUT_EFFECT[key] for key in ("output_router_logits", "router_aux_loss_coef")},
    },
    defaults={
        **_HYBRID.defaults,
        "num_experts": 512,
        "num_experts_per_tok": 10,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
        "norm_topk_prob": True,
    },
)


def _by_rows(name: str, *, computed: bool = False) -> Sequence[TensorPart]:
    if computed:
        return [TensorPart(name, lambda a, *heads: -np.exp(_tiled(a, *heads)), computes=True, sizes=_HEADS)]
    return [TensorPart(name, _tiled, sizes=_HEADS)]


_QWEN35 = dataclasses.replace(
    _HYBRID,
    parts={
        f"{_NET}in_proj_qkv.weight": [
            TensorPart("blk.{}.attn_qkv.weight", _values_tiled, sizes=(*_HEADS, "linear_key_head_dim"))
        ],
        f"{_NET}in_proj_z.weight": _by_rows("blk.{}.attn_gate.weight"),
        f"{_NET}in_proj_b.weight": _by_rows("blk.{}.ssm_beta.weight"),
        f"{_NET}in_proj_a.weight": _by_rows("blk.{}.ssm_alpha.weight"),
        f"{_NET}dt_bias": _by_rows("blk.{}.ssm_dt.bias"),
        f"{_NET}A_log": _by_rows("blk.{}.ssm_a", computed=True),
        f"{_NET}conv1d.weight": [
            TensorPart(
                "blk.{}.ssm_conv1d.weight",
                lambda a, *sizes: _values_tiled(a[:, 0], *sizes),
                sizes=(*_HEADS, "linear_key_head_dim"),
            )
        ],
        f"{_NET}out_proj.weight": [
            TensorPart("blk.{}.ssm_out.weight", lambda a, *heads: _tiled(a.T, *heads).T, sizes=_HEADS)
        ],
    },
    required={**_HYBRID.required, "attn_output_gate": (True,)},
    keys_without_effect={
        **_HYBRID.keys_without_effect,
        "mamba_ssm_dtype": "the state is float32",
        "mtp_num_hidden_layers": _AHEAD,
        "mtp_use_dedicated_embeddings": _AHEAD,
    },
)
_QWEN35_DENSE = dataclasses.replace(_QWEN35, architecture="qwen35")
_QWEN35_MOE = dataclasses.replace(
    _QWEN35,
    architecture="qwen35moe",
    tensors={
        **_QWEN35.tensors,
        **EXPERTS,
        **SHARED_EXPERT,
        f"{LAYER}mlp.experts.down_proj": "blk.{}.ffn_down_exps.weight",
    },
    parts={
        **_QWEN35.parts,
        f"{LAYER}mlp.experts.gate_up_proj": [
            TensorPart("blk.{}.ffn_gate_exps.weight", lambda a: a[: len(a) // 2], each=True),
            TensorPart("blk.{}.ffn_up_exps.weight", lambda a: a[len(a) // 2 :], each=True),
        ],
    },
    keys={
        **{key: ours for key, ours in _QWEN35.keys.items() if key != "intermediate_size"},
        **{key: ours for key, ours in EXPERT_KEYS.items() if key != "norm_topk_prob"},
        "shared_expert_intermediate_size": "expert_shared_feed_forward_length",
    },
    keys_without_effect={
        **_QWEN35.keys_without_effect,
        **{key: EXPERT_KEYS_WITHOUT_EFFECT[key] for key in ("output_router_logits", "router_aux_loss_coef")},
    },
    defaults={
        **_QWEN35.defaults,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
    },
)

_SECTIONS = (11, 11, 10)
"""Sections of M-RoPE by default: modeling_qwen3_5.py, `Qwen3_5TextRotaryEmbedding`."""

QWEN35_TEXT, QWEN35 = of_images(_QWEN35_DENSE, sections=_SECTIONS)
QWEN35_MOE_TEXT, QWEN35_MOE = of_images(_QWEN35_MOE, sections=_SECTIONS)
