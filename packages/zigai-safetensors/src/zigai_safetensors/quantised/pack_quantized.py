"""pack-quantized of `compressed-tensors`: integers of 4 or 8 bits, packed along the inputs.

`weight_packed` is I32 [o, i * bits / 32], `weight_scale` [o, i / g], [o, 1] or [1], `weight_zero_point` I32
[o * bits / 32, i / g] along the outputs, absent if weights are symmetric, and `weight_shape` the two sizes.
Signed integers and zero points are stored plus half their range: `pack_to_int32` and
`PackedQuantizationCompressor` of https://github.com/vllm-project/compressed-tensors
(compressors/pack_quantized).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo, kept_copy
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors.quantised.integers import Integers, group_count
from zigai_safetensors.quantised.parts import SCALES, Parts
from zigai_safetensors.quantised.scheme import Scheme
from zigai_safetensors.quantised.words import all_are, repeated, unpacked, words

PARTS = ("weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx")
"""The parts of a weight."""


def pack_quantized(parts: Parts, schemes: Sequence[Scheme]) -> Integers:
    """Returns the weight's integers, of one of `schemes`."""
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
        (min(scheme.group, width) if scheme.strategy == "group" else width, scheme.reordered)
        for scheme in schemes
        if not scheme.float8
        and (scheme.bits, scheme.symmetric) == (bits, points is None)
        and (scheme.strategy == "tensor") == single
        and groups == (group_count(width, scheme.group) if scheme.strategy == "group" else 1)
    }
    if len({group for group, _ in fitting}) != 1 or (not single and scales.shape != (rows, groups)):
        raise FormatError(
            f"{parts.where}: {bits} bits, weight_scale of shape {scales.shape} and "
            f"{'no ' if points is None else ''}zero points for a weight of {rows, width} are in "
            f"{'several' if len(fitting) > 1 else 'none'} of config_groups"
        )
    group = min(fitting)[0]
    _check_order(parts, width, group, any(reordered for _, reordered in fitting))
    per_word = 32 // bits
    half = 1 << (bits - 1)
    if points is not None:
        points = kept_copy(parts.shaped("weight_zero_point", (group_count(rows, per_word), groups), "I32"))

    def levels(start: int, stop: int) -> NDArray[np.uint8]:
        return unpacked(packed.copy_rows(start, stop).view("<u4").reshape(stop - start, -1), bits)

    def of_rows(start: int, stop: int) -> NDArray[np.float32]:
        if single:
            return np.broadcast_to(scales.to_float32(), (stop - start, 1))
        return scales.dtype.to_float32(scales.copy_rows(start, stop), (stop - start, groups))

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
    rows, width = (
        int(size) for size in given.copy_rows(0, 1).view("<i8" if given.dtype.name == "I64" else "<i4")
    )
    if rows != packed.shape[0] or width < 1:
        raise FormatError(
            f"{parts.where}: weight_shape is {quote((rows, width))}, but weight_packed has shape "
            f"{packed.shape}"
        )
    return rows, width


def _check_order(parts: Parts, width: int, group: int, reordered: bool) -> None:
    """Raises `UnsupportedError` unless each group is a row of neighbours, as in blocks."""
    if "weight_g_idx" not in parts.found:
        if reordered:
            raise FormatError(
                f"{parts.where}: actorder says that inputs were sorted, but there is no weight_g_idx"
            )
        return
    order = parts.shaped("weight_g_idx", (width,), "I32")
    if (order.copy_rows(0, 1).view("<i4") != np.arange(width, dtype=np.int64) // group).any():
        raise UnsupportedError(
            f"{parts.where}: weight_g_idx reorders the inputs (actorder), so groups are not blocks: look for "
            "the model without actorder, or for a GGUF file of it"
        )
