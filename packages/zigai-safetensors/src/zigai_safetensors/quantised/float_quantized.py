"""float-quantized of `compressed-tensors`: weights in F8_E4M3.

`weight` is F8_E4M3 and `weight_scale` one number, one for each output [o, 1], or one for each block:
`FloatQuantizationCompressor` (compressors/naive_quantized) and `_process_block` (quantization/lifecycle) of
https://github.com/vllm-project/compressed-tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

from zigai_core.contracts.descriptor import ComputedTensor
from zigai_core.contracts.errors import FormatError
from zigai_safetensors.quantised.float8 import scale_shape, scaled
from zigai_safetensors.quantised.parts import SCALES, Parts
from zigai_safetensors.quantised.scheme import Scheme


def is_float_quantized(parts: Parts) -> bool:
    """True if the module has a weight in 8-bit floats."""
    return "weight" in parts.found and parts.found["weight"].dtype.name.startswith("F8_")


def float_quantized(parts: Parts, schemes: Sequence[Scheme]) -> ComputedTensor:
    """Returns the weight as BF16, of one of `schemes`."""
    weight = parts.matrix("weight", "F8_E4M3")
    scale = parts.get("weight_scale", *SCALES)
    other = [part for part in ("weight_zero_point", "weight_shape", "weight_g_idx") if part in parts.found]
    if other:
        raise FormatError(f"{parts.where}: {other[0]} does not belong to a weight in F8_E4M3")
    shapes: dict[tuple[int, int], tuple[int, ...]] = {}
    for scheme in schemes:
        if scheme.float8:
            if scheme.strategy == "tensor":
                shapes[weight.shape[0], weight.shape[1]] = (1,)
            else:
                block = scheme.block or (1, weight.shape[1])
                shapes[block] = scale_shape(weight.shape, block)
    fitting = [block for block, shape in shapes.items() if shape == scale.shape]
    if len(fitting) != 1:
        raise FormatError(
            f"{parts.where}: weight has shape {weight.shape} and weight_scale {scale.shape}, which "
            f"{'several' if fitting else 'none'} of config_groups give{'' if fitting else 's'}"
        )
    return scaled(f"{parts.module}.weight", weight, scale, fitting[0], parts.where)
