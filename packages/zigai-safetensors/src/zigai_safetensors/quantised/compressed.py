"""The layout `compressed-tensors` of llm-compressor, in its formats pack-quantized and float-quantized.

Bits, groups and zero points of a weight are those of its tensors. One of `config_groups` must have them, too;
which one, its `targets` would tell, but a regular expression from a file may take forever, so they are not
evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import FormatError, quote
from zigai_safetensors.quantised.float_quantized import float_quantized, is_float_quantized
from zigai_safetensors.quantised.integers import Integers, block_tensors
from zigai_safetensors.quantised.pack_quantized import PARTS, pack_quantized
from zigai_safetensors.quantised.parts import add_unique, collect
from zigai_safetensors.quantised.scheme import FORMATS, read_scheme
from zigai_safetensors.quantised.settings import WITHOUT_EFFECT, Settings, check_excluded

USED = ("format", "config_groups", "ignore")
UNUSED = {
    **WITHOUT_EFFECT,
    "quantization_status": "the types of the tensors show it",
    "global_compression_ratio": "a figure for people",
    "version": "of the library that wrote the files",
    "kv_cache_scheme": "how vLLM rounds keys and values in its cache",
    "run_compressed": "how transformers computes",
}
_ROUNDING = tuple(
    f"{what}_{kind}" for what in ("input", "output", "k", "v", "q") for kind in ("scale", "zero_point")
)
"""Scales with which other programs round activations, keys and values; here they are not rounded."""


def read(stored: Mapping[str, TensorInfo], settings: Settings, folder: Path) -> dict[str, TensorInfo]:
    """Returns the tensors with the parts of each weight as one: Q4_0, Q4_1, Q8_0 or BF16."""
    settings.check(USED, UNUSED)
    settings.one_of("format", (*FORMATS, "mixed-precision"))
    groups = settings.inner("config_groups")
    schemes = [
        read_scheme(group, settings)
        for group in map(groups.inner, groups.values)
        if group.values.get("weights") is not None
    ]
    modules, tensors = collect(stored, ("weight", *PARTS, *_ROUNDING), folder)
    integers: list[Integers] = []
    quantised: list[str] = []
    for parts in modules:
        if "weight_packed" in parts.found:
            if "weight" in parts.found:
                raise FormatError(
                    f"{folder}: holds {quote(f'{parts.module}.weight')} both whole and in quantised parts"
                )
            integers.append(pack_quantized(parts, schemes))
        elif any(part in parts.found for part in PARTS) or is_float_quantized(parts):
            add_unique(tensors, float_quantized(parts, schemes), folder)
        else:
            if "weight" in parts.found:
                add_unique(tensors, parts.found["weight"], folder)
            continue
        quantised.append(parts.module)
    check_excluded(quantised, settings, "ignore", inside=False)
    for weight in block_tensors(integers):
        add_unique(tensors, weight, folder)
    return tensors
