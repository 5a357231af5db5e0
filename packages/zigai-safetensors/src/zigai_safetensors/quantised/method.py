"""The layout of a folder, chosen by `quantization_config.quant_method`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import FormatError, UnsupportedError, escape, quote
from zigai_safetensors.quantised import awq, compressed, fp8, gptq, mxfp4
from zigai_safetensors.quantised.settings import Settings

KEY = "quantization_config"
Layout = Callable[[Mapping[str, TensorInfo], Settings, Path], dict[str, TensorInfo]]

LAYOUTS: Mapping[str, Layout] = {
    "fp8": fp8.read,
    "mxfp4": mxfp4.read,
    "awq": awq.read,
    "gptq": gptq.read,
    "compressed-tensors": compressed.read,
}
NAMES = {"fp8": "FP8", "mxfp4": "MXFP4", "awq": "AWQ", "gptq": "GPTQ"}
"""The layouts' usual names, where they differ."""
_PARTS = {".qweight": "I32", ".weight_packed": "I32", "_blocks": "U8"}
"""Ends of names, and the types, that only parts of quantised weights have."""


def whole_weights(
    stored: Mapping[str, TensorInfo], config: Mapping[str, Any], path: Path
) -> dict[str, TensorInfo]:
    """Returns the tensors of a folder with each quantised weight as one tensor, `X.weight`.

    `stored` are the tensors by their names in the files, `config` is config.json, at `path`. Shapes, types
    and zero points are checked here; weights are computed when they are asked for. Raises `UnsupportedError`
    for a layout or a setting that is not supported, and `FormatError` for parts that are missing or do not
    agree.
    """
    if not config.get(KEY):
        for name, tensor in stored.items():
            if any(name.endswith(end) and tensor.dtype.name == kind for end, kind in _PARTS.items()):
                raise FormatError(
                    f"{path}: has no {KEY}, but the files hold {quote(name)}, a part of a quantised weight: "
                    "take config.json from the same place as the weights"
                )
        return dict(stored)
    settings = Settings(config[KEY], f"{path}: {KEY}")
    method = settings.values.get("quant_method")
    if not isinstance(method, str):
        raise FormatError(f"{settings.where}.quant_method is {quote(method)}, so the layout is not known")
    layout = LAYOUTS.get(method.lower())
    if layout is None:
        raise UnsupportedError(
            f"{settings.where}.quant_method is {quote(method)}, which is not supported; supported are "
            f"{', '.join(LAYOUTS)}: look for the model without quantisation, or for a GGUF file of it"
        )
    return layout(stored, settings, path.parent)


def layout_name(config: Mapping[str, Any]) -> str | None:
    """Returns the name of the layout that config.json names, with the bits or the format it gives.

    None without quantisation.

    >>> layout_name({"quantization_config": {"quant_method": "awq", "bits": 4}})
    'AWQ, 4 bits'
    """
    settings = config.get(KEY) or {}
    method = settings.get("quant_method")
    if not isinstance(method, str):
        return None
    parts = [NAMES.get(method.lower(), method)]
    bits, kind = settings.get("bits"), settings.get("format")
    if isinstance(kind, str) and method.lower() == "compressed-tensors":
        parts.append(kind)
    if type(bits) is int:
        parts.append(f"{bits} bits")
    return escape(", ".join(parts))
