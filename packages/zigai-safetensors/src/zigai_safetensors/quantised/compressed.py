"""The layout `compressed-tensors` of llm-compressor, in its formats pack-quantized and float-quantized.

pack-quantized: `weight_packed` is I32 [o, i * bits / 32] along the inputs, `weight_scale` [o, i / g], [o, 1]
or [1], `weight_zero_point` I32 [o * bits / 32, i / g] along the outputs, absent if weights are symmetric, and
`weight_shape` the two sizes. Signed integers and zero points are stored plus half their range:
`pack_to_int32` and `PackedQuantizationCompressor` of https://github.com/vllm-project/compressed-tensors
(compressors/pack_quantized).

float-quantized: `weight` is F8_E4M3 and `weight_scale` one number, one for each output [o, 1], or one for
each block: `FloatQuantizationCompressor` (compressors/naive_quantized) and `_process_block`
(quantization/lifecycle).

Bits, groups and zero points of a weight are those of its tensors. One of `config_groups` must have them, too;
which one, its `targets` would tell, but a regular expression from a file may take forever, so they are not
evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import ComputedTensor, TensorInfo
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors.quantised.float8 import scale_shape, scaled
from zigai_safetensors.quantised.integers import SCALES, Integers, group_count, weights
from zigai_safetensors.quantised.parts import Parts, add, collect
from zigai_safetensors.quantised.settings import WITHOUT_EFFECT, Settings, check_excluded
from zigai_safetensors.quantised.words import all_are, repeated, unpacked, words

FORMATS = ("pack-quantized", "float-quantized")
USED = ("format", "config_groups", "ignore")
UNUSED = {
    **WITHOUT_EFFECT,
    "quantization_status": "the types of the tensors show it",
    "global_compression_ratio": "a figure for people",
    "version": "of the library that wrote the files",
    "kv_cache_scheme": "how vLLM rounds keys and values in its cache",
    "run_compressed": "how transformers computes",
}
USED_OF_GROUP = ("weights", "format")
UNUSED_OF_GROUP = {
    "targets": "the files show which weights are quantised",
    "input_activations": "how other programs round activations",
    "output_activations": "how other programs round activations",
}
USED_OF_WEIGHTS = ("num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic")
UNUSED_OF_WEIGHTS = {
    "actorder": "weight_g_idx is checked",
    "observer": "how the weights were made",
    "observer_kwargs": "how the weights were made",
    "scale_dtype": "scales are read in their own type",
    "zp_dtype": "zero points are read in their own type",
}
_ROUNDING = tuple(
    f"{what}_{kind}" for what in ("input", "output", "k", "v", "q") for kind in ("scale", "zero_point")
)
"""Scales with which other programs round activations, keys and values; here they are not rounded."""

_PACKED = ("weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx")


class _Scheme(NamedTuple):
    """How the weights of one of `config_groups` are quantised."""

    float8: bool
    bits: int
    symmetric: bool
    strategy: str
    group: int
    block: tuple[int, int] | None


def read(stored: Mapping[str, TensorInfo], settings: Settings, folder: Path) -> dict[str, TensorInfo]:
    """Returns the tensors with the parts of each weight as one: Q4_0, Q4_1, Q8_0 or BF16."""
    settings.check(USED, UNUSED)
    settings.one_of("format", (*FORMATS, "mixed-precision"))
    groups = settings.inner("config_groups")
    schemes = [
        _scheme(group, settings)
        for group in map(groups.inner, groups.values)
        if group.values.get("weights") is not None
    ]
    modules, tensors = collect(stored, ("weight", *_PACKED, *_ROUNDING), folder)
    integers: list[Integers] = []
    quantised: list[str] = []
    for parts in modules:
        if "weight_packed" in parts.found:
            integers.append(_integers(parts, schemes))
        elif any(part in parts.found for part in _PACKED) or _is_float8(parts):
            add(tensors, _float8(parts, schemes), folder)
        else:
            if "weight" in parts.found:
                add(tensors, parts.found["weight"], folder)
            continue
        quantised.append(parts.module)
        if "weight_packed" in parts.found and "weight" in parts.found:
            add(tensors, parts.found["weight"], folder)  # then `add` of the packed one fails
    check_excluded(quantised, settings, "ignore", inside=False)
    for weight in weights(integers):
        add(tensors, weight, folder)
    return tensors


def _is_float8(parts: Parts) -> bool:
    return "weight" in parts.found and parts.found["weight"].dtype.name.startswith("F8_")


def _scheme(group: Settings, settings: Settings) -> _Scheme:
    group.check(USED_OF_GROUP, UNUSED_OF_GROUP)
    layout = group.one_of("format", FORMATS, settings.values.get("format"))
    given = group.inner("weights")
    given.check(USED_OF_WEIGHTS, UNUSED_OF_WEIGHTS)
    float8 = layout == "float-quantized"
    given.one_of("type", ("float",) if float8 else ("int",), "int")
    bits: int = given.one_of("num_bits", (8,) if float8 else (4, 8), 8)
    given.one_of("dynamic", (False,), False)
    symmetric = given.flag("symmetric", True)
    if float8 and not symmetric:
        raise UnsupportedError(f"{given.where}.symmetric is false, which float-quantized does not support")
    size = given.group_size(-1)
    block = given.pair("block_structure")
    usual = "tensor" if given.values.get("group_size") is None else "channel" if size == -1 else "group"
    allowed = ("tensor", "channel", "block") if float8 else ("tensor", "channel", "group")
    strategy: str = given.one_of("strategy", allowed, usual)
    if (strategy == "group" and size == -1) or ((strategy == "block") != (block is not None)):
        raise FormatError(f"{given.where}: strategy is {strategy}, which does not fit its size")
    return _Scheme(float8, bits, symmetric, strategy, size, block)


def _float8(parts: Parts, schemes: list[_Scheme]) -> ComputedTensor:
    weight = parts.matrix("weight", "F8_E4M3")
    scale = parts.get("weight_scale", *SCALES)
    other = [part for part in _PACKED if part in parts.found and part != "weight_scale"]
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


def _integers(parts: Parts, schemes: list[_Scheme]) -> Integers:
    packed = parts.matrix("weight_packed", "I32")
    rows, width = _shape(parts, packed)
    bits = 32 * packed.shape[1] // width
    if bits not in (4, 8) or bits * width != 32 * packed.shape[1]:
        raise FormatError(
            f"{parts.where}: weight_packed has shape {packed.shape}, but weight_shape is {rows, width}: "
            "neither 4 nor 8 bits fit"
        )
    scales = parts.get("weight_scale", *SCALES)
    single = scales.shape == (1,)
    groups = 1 if single else scales.shape[-1]
    points = parts.found.get("weight_zero_point")
    fitting = {
        min(scheme.group, width) if scheme.strategy == "group" else width
        for scheme in schemes
        if not scheme.float8
        and (scheme.bits, scheme.symmetric) == (bits, points is None)
        and (scheme.strategy == "tensor") == single
        and groups == (group_count(width, scheme.group) if scheme.strategy == "group" else 1)
    }
    if len(fitting) != 1 or (not single and scales.shape != (rows, groups)):
        raise FormatError(
            f"{parts.where}: {bits} bits, weight_scale of shape {scales.shape} and "
            f"{'no ' if points is None else ''}zero points for a weight of {rows, width} are in "
            f"{'several' if len(fitting) > 1 else 'none'} of config_groups"
        )
    group = fitting.pop()
    _check_order(parts, width, group)
    per_word = 32 // bits
    half = 1 << (bits - 1)
    if points is not None:
        points = parts.shaped("weight_zero_point", (group_count(rows, per_word), groups), "I32")

    def levels(start: int, stop: int) -> NDArray[np.uint8]:
        return unpacked(words(packed)[start:stop], bits)

    def of_rows(start: int, stop: int) -> NDArray[np.float32]:
        if single:
            return np.broadcast_to(scales.to_float32(), (stop - start, 1))
        return scales.dtype.to_float32(scales.row_data(start, stop), (stop - start, groups))

    def zeros(start: int, stop: int) -> NDArray[np.uint8]:
        assert points is not None
        first, last = start // per_word, -(-stop // per_word)
        found = unpacked(words(points)[first:last].T, bits).T
        return found[start - per_word * first : stop - per_word * first]

    def centred() -> bool:
        if points is None:
            return True
        whole = rows // per_word  # the places after the last row are not zero points
        return all_are(points, repeated(half, bits), whole) and bool(
            (zeros(whole * per_word, rows) == half).all()
        )

    return Integers(
        name=f"{parts.module}.weight",
        where=parts.where,
        shape=(rows, width),
        bits=bits,
        group=group,
        levels=levels,
        scales=of_rows,
        zeros=None if points is None else zeros,
        centred=centred,
        sources=[packed, scales, *([] if points is None else [points])],
        how="compressed-tensors",
    )


def _shape(parts: Parts, packed: TensorInfo) -> tuple[int, int]:
    given = parts.shaped("weight_shape", (2,), "I64", "I32")
    given.check_file()
    rows, width = (int(size) for size in given.data.view("<i8" if given.dtype.name == "I64" else "<i4"))
    if rows != packed.shape[0] or width < 1:
        raise FormatError(
            f"{parts.where}: weight_shape is {quote((rows, width))}, but weight_packed has shape "
            f"{packed.shape}"
        )
    return rows, width


def _check_order(parts: Parts, width: int, group: int) -> None:
    """Raises `UnsupportedError` unless each group is a row of neighbours, as in blocks."""
    if "weight_g_idx" not in parts.found:
        return
    order = parts.shaped("weight_g_idx", (width,), "I32")
    order.check_file()
    if (order.data.view("<i4") != np.arange(width, dtype=np.int64) // group).any():
        raise UnsupportedError(
            f"{parts.where}: weight_g_idx reorders the inputs (actorder), so groups are not blocks: look for "
            "the model without actorder, or for a GGUF file of it"
        )
