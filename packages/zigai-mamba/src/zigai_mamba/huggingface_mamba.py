"""Names of Mamba and Falcon Mamba in Hugging Face's folders.

Source: transformers (models/mamba, models/falcon_mamba), whose modules and configuration keys are named here.
Configurations leave out values that are the default of their class.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart
from zigai_core.contracts.huggingface_values import whole
from zigai_mamba.huggingface import KEYS_WITHOUT_EFFECT, MIXERS_ALONE, NO_RESCALING

_LAYER = "backbone.layers.{}."
_OWN_CODE = "of the authors' own code; transformers does not read it"


def inner_size(given: Any, expand: Any, width: Any) -> dict[str, int]:
    """Returns the width within a mixer, and the keys of a model of nothing but mixers.

    `intermediate_size` wins over `expand` times `hidden_size`.
    """
    if given is not None:
        return {"ssm.inner_size": whole("intermediate_size", given), **MIXERS_ALONE}
    return {"ssm.inner_size": whole("expand", expand) * whole("hidden_size", width), **MIXERS_ALONE}


def rank(value: Any, width: Any) -> dict[str, int]:
    """Returns the rank of the step's matrices: `auto` is a sixteenth of the width, rounded up."""
    if value == "auto":
        return {"ssm.time_step_rank": -(-whole("hidden_size", width) // 16)}
    return {"ssm.time_step_rank": whole("time_step_rank", value)}


def normed(epsilon: Any) -> dict[str, Any]:
    """Returns that the step, B and C have norms, and their epsilon."""
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not 0 < epsilon < 1:
        raise ValueError("mixer_rms_eps must be a number above 0")
    return {"ssm.dt_b_c_rms": True, "ssm.dt_b_c_rms_epsilon": float(epsilon)}


MAMBA = HuggingFaceNames(
    architecture="mamba",
    tensors={
        "backbone.embeddings.weight": "token_embd.weight",
        "backbone.embedding.weight": "token_embd.weight",  # of the authors' own code
        "backbone.norm_f.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
        f"{_LAYER}norm.weight": "blk.{}.attn_norm.weight",
        f"{_LAYER}mixer.conv1d.bias": "blk.{}.ssm_conv1d.bias",
        f"{_LAYER}mixer.D": "blk.{}.ssm_d",
        f"{_LAYER}mixer.x_proj.weight": "blk.{}.ssm_x.weight",
        **{
            f"{_LAYER}mixer.{theirs}.{kind}": f"blk.{{}}.{ours}.{kind}"
            for theirs, ours in (("in_proj", "ssm_in"), ("dt_proj", "ssm_dt"), ("out_proj", "ssm_out"))
            for kind in ("weight", "bias")
        },
    },
    parts={
        f"{_LAYER}mixer.conv1d.weight": [  # [channels, 1, taps]
            TensorPart("blk.{}.ssm_conv1d.weight", lambda a: a[:, 0])
        ],
        f"{_LAYER}mixer.A_log": [TensorPart("blk.{}.ssm_a", lambda a: -np.exp(a), computes=True)],
    },
    keys={
        "vocab_size": "vocab_size",
        "hidden_size": "embedding_length",
        "num_hidden_layers": "block_count",
        "layer_norm_epsilon": "attention.layer_norm_rms_epsilon",
        "state_size": "ssm.state_size",
        "conv_kernel": "ssm.conv_kernel",
    },
    required={
        "hidden_act": ("silu",),
        "rms_norm": (True, None),
        **NO_RESCALING,
    },
    keys_without_effect={
        # Other than in Mamba 2, the inner width may be given.
        **{key: why for key, why in KEYS_WITHOUT_EFFECT.items() if key != "intermediate_size"},
        "use_mambapy": "how the scan is computed; results are the same",
        "use_associative_scan": "how the scan is computed; results are the same",
        **dict.fromkeys(
            ("d_inner", "d_model", "fused_add_norm", "n_layer", "pad_vocab_size_multiple"), _OWN_CODE
        ),
    },
    computed={
        ("intermediate_size", "expand", "hidden_size"): inner_size,
        ("time_step_rank", "hidden_size"): rank,
    },
    defaults={  # transformers, MambaConfig
        "vocab_size": 50280,
        "hidden_size": 768,
        "num_hidden_layers": 32,
        "layer_norm_epsilon": 1e-5,
        "state_size": 16,
        "conv_kernel": 4,
        "expand": 2,
        "time_step_rank": "auto",
        "tie_word_embeddings": True,
    },
)
FALCON_MAMBA = replace(
    MAMBA,
    computed={**MAMBA.computed, "mixer_rms_eps": normed},
    defaults={**MAMBA.defaults, "mixer_rms_eps": 1e-6},
)
