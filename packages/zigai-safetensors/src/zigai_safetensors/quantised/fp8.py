"""The layout `fp8`: DeepSeek V3, Qwen3-FP8, Ministral 3, and files of AutoFP8.

`weight` is F8_E4M3 [..., o, i]; `weight_scale_inv` has a number for each block of `weight_block_size`, or one
for the tensor if there is no block size. Although its name says inverse, it multiplies: README_WEIGHTS.md of
https://github.com/deepseek-ai/DeepSeek-V3, and `Fp8Dequantize` in transformers, integrations/finegrained_fp8.
AutoFP8 and vLLM (model_executor/layers/quantization/fp8.py) name the single number `weight_scale`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_safetensors.quantised.float8 import scale_shape, scaled
from zigai_safetensors.quantised.parts import SCALES, Parts, add_unique, collect
from zigai_safetensors.quantised.settings import WITHOUT_EFFECT, Settings, check_excluded

USED = ("fmt", "weight_block_size", "activation_scheme", "expert_dtype", "scale_fmt", "ignored_layers")
UNUSED = {
    **WITHOUT_EFFECT,
    "modules_to_convert": "the files show which weights are quantised",
    "kv_cache_scheme": "how vLLM rounds keys and values in its cache",
}
_ROUNDING = ("input_scale", "activation_scale", "k_scale", "v_scale")
"""Scales with which other programs round activations, keys and values; here they are not rounded."""

_PARTS = ("weight", "weight_scale_inv", "weight_scale", *_ROUNDING)


def read(stored: Mapping[str, TensorInfo], settings: Settings, folder: Path) -> dict[str, TensorInfo]:
    """Returns the tensors with each pair of F8_E4M3 weight and scale as one BF16 tensor."""
    settings.check(USED, UNUSED)
    settings.one_of("fmt", ("e4m3", "float8_e4m3fn"), "e4m3")
    settings.one_of("activation_scheme", ("dynamic", "static"), "dynamic")  # how activations are rounded
    settings.one_of("expert_dtype", ("fp8",), "fp8")
    # ue8m0 says that scales are powers of two. How they are stored is checked by their type.
    settings.one_of("scale_fmt", ("float", "ue8m0"), "float")
    block = settings.pair("weight_block_size")
    modules, tensors = collect(stored, _PARTS, folder)
    quantised = []
    for parts in modules:
        weight = _weight(parts, block)
        if weight is not None:
            add_unique(tensors, weight, folder)
            if weight is not parts.found.get("weight"):
                quantised.append(parts.module)
    for key in ("modules_to_not_convert", "ignored_layers"):
        check_excluded(quantised, settings, key)
    return tensors


def _weight(parts: Parts, block: tuple[int, int] | None) -> TensorInfo | None:
    """The module's weight, None if it has only scales for activations."""
    given = [part for part in ("weight_scale_inv", "weight_scale") if part in parts.found]
    whole = parts.found.get("weight")
    if not given and (whole is None or whole.dtype.name not in ("F8_E4M3", "F8_E5M2")):
        return whole
    if whole is not None and whole.dtype.name == "F8_E5M2":
        raise UnsupportedError(
            f"{parts.where}: weight is F8_E5M2, of which no layout is known; F8_E4M3 is supported: look for "
            "a GGUF file of the model"
        )
    weight = parts.get("weight", "F8_E4M3")
    if len(given) == 2:
        raise FormatError(f"{parts.where} has both weight_scale_inv and weight_scale")
    name = given[0] if given else "weight_scale_inv"
    if parts.found.get(name) is not None and parts.found[name].dtype.name in ("U8", "F8_E8M0"):
        raise UnsupportedError(
            f"{parts.where}: {name} is {parts.found[name].dtype.name}; supported are scales in "
            f"{', '.join(SCALES)}: look for a GGUF file of the model"
        )
    if len(weight.shape) < 2:
        raise FormatError(f"{parts.where}: weight has shape {weight.shape}, but must have two dimensions")
    scale = parts.shaped(name, (1,) if block is None else scale_shape(weight.shape, block), *SCALES)
    return scaled(f"{parts.module}.weight", weight, scale, block or (1, 1), parts.where)
