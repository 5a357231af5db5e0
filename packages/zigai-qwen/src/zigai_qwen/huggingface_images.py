"""Names of the texts' parts of models of texts and images in Hugging Face's folders, by `model_type`.

Source: transformers (models/qwen2_vl, qwen2_5_vl, qwen3_vl and qwen3_vl_moe), whose modules and configuration
keys are named here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from zigai_core.contracts.huggingface import HuggingFaceNames

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
