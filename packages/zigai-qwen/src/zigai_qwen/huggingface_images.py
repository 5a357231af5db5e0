"""Names of the texts' parts of models of texts and images in Hugging Face's folders, by `model_type`.

Source: transformers (models/qwen2_vl, qwen2_5_vl, qwen3_vl and qwen3_vl_moe), whose modules and configuration
keys are named here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart
from zigai_qwen.huggingface import (
    EXPERT_KEYS,
    EXPERT_KEYS_WITHOUT_EFFECT,
    EXPERTS,
    KEYS_WITHOUT_EFFECT,
    LAYER,
    QWEN2,
    QWEN3,
)

Elements = np.ndarray[Any, Any]
Kind = TypeVar("Kind")

_IMAGES = "images are not supported, texts are"
_SECTIONS = "a text has one position in all sections of M-RoPE"


def of_images(
    names: HuggingFaceNames, *, sections: Sequence[int] | None = None
) -> tuple[HuggingFaceNames, HuggingFaceNames]:
    """Returns the names of a text model, and those of the model of texts and images that it is a part of.

    Both have M-RoPE, and tensors of texts may begin with `model.language_model.`. `sections` are those of
    M-RoPE of a folder that does not say; None: none are passed on.
    """

    def computed(value: Any, _layers: Any) -> Mapping[str, Any]:
        entries = sections if value is None else value
        return {} if entries is None else {"rope.dimension_sections": _four(entries)}

    text = dataclasses.replace(
        names,
        tensors=_also_inner(names.tensors),
        parts=_also_inner(names.parts),
        computed={**names.computed, ("mrope_section", "num_hidden_layers"): computed},
        keys_without_effect={**names.keys_without_effect, "mrope_interleaved": _SECTIONS},
    )
    ids = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return text, dataclasses.replace(
        text,
        section="text_config",
        keys_without_effect={
            **text.keys_without_effect,
            **dict.fromkeys((*ids, "vision_token_id", "vision_config"), _IMAGES),
        },
        unsupported_tensors={**text.unsupported_tensors, "visual.*": _IMAGES, "model.visual.*": _IMAGES},
    )


def _four(sections: Sequence[int]) -> list[int]:
    """The sections of M-RoPE as GGUF has them: four, of which the last is for none of these models."""
    entries = [*sections] if isinstance(sections, (list, tuple)) else []
    if not 1 <= len(entries) <= 4 or any(type(each) is not int or not 0 <= each < 65536 for each in entries):
        raise ValueError("it must hold up to four numbers of pairs")
    return entries + [0] * (4 - len(entries))


def _also_inner(named: Mapping[str, Kind]) -> dict[str, Kind]:
    """The names, and with `model.language_model.` those that begin with `model.`."""
    inner = {
        f"model.language_model.{name.removeprefix('model.')}": part
        for name, part in named.items()
        if name.startswith("model.")
    }
    return {**named, **inner}


def _upright(a: Elements, outputs: int, inputs: int) -> Elements:
    """An expert's matrix, `[outputs, inputs]`, which the first folders of Qwen3-VL store transposed.

    Source: transformers, conversion_mapping.py (`qwen3_vl_moe`), which tells both by their shape, too.
    """
    if a.shape not in ((outputs, inputs), (inputs, outputs)):
        raise ValueError(f"an expert's matrix is neither {outputs} by {inputs} nor the other way round")
    return a if a.shape == (outputs, inputs) else a.T


def _experts(part: str, change: Callable[[Elements, int, int], Elements]) -> TensorPart:
    """A part of the experts, made of each one's matrix, its hidden width and the model's width."""
    sizes = ("moe_intermediate_size", "hidden_size")
    return TensorPart(f"blk.{{}}.ffn_{part}_exps.weight", change, each=True, sizes=sizes)


_FOR_TRAINING = {
    key: KEYS_WITHOUT_EFFECT[key] for key in ("attention_bias", "attention_dropout", "initializer_range")
}

_, _QWEN2_VL = of_images(
    dataclasses.replace(QWEN2, architecture="qwen2vl", defaults={"rope_theta": 1e6, "num_key_value_heads": 8})
)
QWEN2_VL = dataclasses.replace(_QWEN2_VL, flat=True)
_, QWEN3_VL = of_images(
    dataclasses.replace(
        QWEN3,
        architecture="qwen3vl",
        required={"hidden_act": ("silu",)},
        keys_without_effect=_FOR_TRAINING,
        defaults={"rope_theta": 5e5, "head_dim": 128, "num_key_value_heads": 32},
    )
)
_, QWEN3_VL_MOE = of_images(
    dataclasses.replace(
        QWEN3,
        architecture="qwen3vlmoe",
        tensors={**QWEN3.tensors, f"{LAYER}mlp.gate.weight": EXPERTS[f"{LAYER}mlp.gate.weight"]},
        parts={
            f"{LAYER}mlp.experts.gate_up_proj": [
                _experts("gate", lambda a, hidden, width: _upright(a, 2 * hidden, width)[:hidden]),
                _experts("up", lambda a, hidden, width: _upright(a, 2 * hidden, width)[hidden:]),
            ],
            f"{LAYER}mlp.experts.down_proj": [
                _experts("down", lambda a, hidden, width: _upright(a, width, hidden))
            ],
        },
        keys={**QWEN3.keys, **{key: ours for key, ours in EXPERT_KEYS.items() if key != "norm_topk_prob"}},
        required={"hidden_act": ("silu",), "decoder_sparse_step": (1,), "mlp_only_layers": ([], None)},
        keys_without_effect={
            **_FOR_TRAINING,
            **{
                key: EXPERT_KEYS_WITHOUT_EFFECT[key]
                for key in ("output_router_logits", "router_aux_loss_coef")
            },
            "norm_topk_prob": "shares are always divided by their sum",
        },
        defaults={
            "rope_theta": 5e5,
            "num_key_value_heads": 16,
            "num_experts": 60,
            "num_experts_per_tok": 4,
            "moe_intermediate_size": 1408,
        },
    )
)
