"""Names of Mamba 2 in Hugging Face's folders, by `model_type`.

Source: transformers (models/mamba2), whose modules and configuration keys are named here. Configurations
leave out values that are the default of their class.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from zigai_core.contracts.errors import UnsupportedError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart
from zigai_core.contracts.huggingface_values import whole

_LAYER = "backbone.layers.{}."
_TRAINING = "of random weights, for training"
CONTEXT = 1 << 20
"""The context of models without positions: what llama.cpp's converter writes (conversion/mamba.py)."""

MIXERS_ALONE = {"context_length": CONTEXT, "attention.head_count": 0, "feed_forward_length": 0}
"""Hyperparameters of a model of nothing but mixers; readers of GGUF need the zeros."""


NO_RESCALING = {"rescale_prenorm_residual": (False, None)}
"""transformers changes weights that it loads if this key is true."""

KEYS_WITHOUT_EFFECT = {
    "initializer_range": _TRAINING,
    "intermediate_size": "expand times hidden_size",
    "residual_in_fp32": "sums are float32",
    "time_step_floor": _TRAINING,
    "time_step_init_scheme": _TRAINING,
    "time_step_max": _TRAINING,
    "time_step_min": _TRAINING,
    "time_step_scale": _TRAINING,
    "use_bias": "biases are read if the folder has them",
    "use_conv_bias": "biases are read if the folder has them",
}
"""Configuration keys of Mamba and Mamba 2 that change no results."""


def inner_size(expand: Any, width: Any, heads: Any, head_dim: Any) -> dict[str, int]:
    """Returns the width within a mixer, and the keys of a model of nothing but mixers.

    Raises `ValueError` if the width is not that of its heads.
    """
    inner = whole("expand", expand) * whole("hidden_size", width)
    if inner != whole("num_heads", heads) * whole("head_dim", head_dim):
        raise ValueError(f"{heads} heads of {head_dim} are not {inner} wide, expand times hidden_size")
    return {"ssm.inner_size": inner, **MIXERS_ALONE}


def no_limit(limits: Any) -> dict[str, Any]:
    """Refuses limits of the step other than 0 and infinity, which change nothing.

    transformers writes infinity as an object, `{"__float__": "Infinity"}`.
    """
    if limits is None:
        return {}
    if not isinstance(limits, list) or len(limits) != 2:
        raise ValueError("time_step_limit must be an array of two numbers")
    low, high = (math.inf if each == {"__float__": "Infinity"} else each for each in limits)
    if any(isinstance(each, bool) or not isinstance(each, (int, float)) for each in (low, high)):
        raise ValueError("time_step_limit must be an array of two numbers")
    if low > 0 or high != math.inf:
        raise UnsupportedError(
            f"limits of the step, {quote(limits)}, are not supported, other than 0 and infinity"
        )
    return {}


def mixer_parts(theirs: str, groups: str) -> dict[str, list[TensorPart]]:
    """Returns the parts of a mixer of Mamba 2, whose tensors begin with `theirs`; `groups` is their key."""
    return {
        f"{theirs}.conv1d.weight": [  # [channels, 1, taps]
            TensorPart("blk.{}.ssm_conv1d.weight", lambda a: a[:, 0])
        ],
        f"{theirs}.A_log": [TensorPart("blk.{}.ssm_a", lambda a: -np.exp(a)[:, None], computes=True)],
        f"{theirs}.D": [TensorPart("blk.{}.ssm_d", lambda a: a[:, None])],
        f"{theirs}.norm.weight": [
            TensorPart("blk.{}.ssm_norm.weight", lambda a, groups: a.reshape(groups, -1), sizes=(groups,))
        ],
    }


def mixer_tensors(theirs: str) -> dict[str, str]:
    """Returns the other tensors of a mixer of Mamba 2."""
    return {
        f"{theirs}.dt_bias": "blk.{}.ssm_dt.bias",
        f"{theirs}.conv1d.bias": "blk.{}.ssm_conv1d.bias",
        **{
            f"{theirs}.{part}.{kind}": f"blk.{{}}.{ours}.{kind}"
            for part, ours in (("in_proj", "ssm_in"), ("out_proj", "ssm_out"))
            for kind in ("weight", "bias")
        },
    }


MAMBA2 = HuggingFaceNames(
    architecture="mamba2",
    tensors={
        "backbone.embeddings.weight": "token_embd.weight",
        "backbone.embedding.weight": "token_embd.weight",  # of the authors' own code
        "backbone.norm_f.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
        f"{_LAYER}norm.weight": "blk.{}.attn_norm.weight",
        **mixer_tensors(f"{_LAYER}mixer"),
    },
    parts=mixer_parts(f"{_LAYER}mixer", "n_groups"),
    keys={
        "vocab_size": "vocab_size",
        "hidden_size": "embedding_length",
        "num_hidden_layers": "block_count",
        "layer_norm_epsilon": "attention.layer_norm_rms_epsilon",
        "num_heads": "ssm.time_step_rank",
        "n_groups": "ssm.group_count",
        "state_size": "ssm.state_size",
        "conv_kernel": "ssm.conv_kernel",
    },
    required={"hidden_act": ("silu",), "rms_norm": (True, None), **NO_RESCALING},
    keys_without_effect={
        **KEYS_WITHOUT_EFFECT,
        "chunk_size": "the tokens of a chunk that is computed at once; results are the same",
        "norm_before_gate": "transformers gates before the norm, whatever it says",
        "time_step_rank": "of Mamba 1",
    },
    computed={
        ("expand", "hidden_size", "num_heads", "head_dim"): inner_size,
        "time_step_limit": no_limit,
    },
    defaults={  # transformers, Mamba2Config
        "vocab_size": 32768,
        "hidden_size": 4096,
        "num_hidden_layers": 64,
        "layer_norm_epsilon": 1e-5,
        "num_heads": 128,
        "head_dim": 64,
        "n_groups": 8,
        "state_size": 128,
        "conv_kernel": 4,
        "expand": 2,
    },
)
