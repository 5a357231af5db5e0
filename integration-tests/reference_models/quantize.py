"""Quantises float32 weights to Q8_0, Q4_K and Q6_K.

The block layouts are GGUF's (`zigai_core.contracts.dtypes.dequantize` reads them). Scales are found by a
search of our own: over candidate scales, each refined by least squares, for the smallest squared error, in
which larger weights count more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.dtypes.dequantize import Q4_K, Q6_K

Floats = NDArray[np.float32]


def quantize(name: str, weights: Floats, dtype: str) -> TensorInfo:
    """Store weights `[..., columns]` as F32, Q8_0 (columns a multiple of 32), Q4_K or Q6_K (of 256)."""
    stored = DTYPES[dtype]
    flat = np.ascontiguousarray(weights, dtype=np.float32).reshape(-1, stored.block_size)
    blocks = {"F32": _f32, "Q8_0": _q8_0, "Q4_K": _q4_k, "Q6_K": _q6_k}[dtype](flat)
    return TensorInfo(name, weights.shape, stored, blocks.reshape(-1))


def _f32(flat: Floats) -> NDArray[np.uint8]:
    return flat.astype("<f4").view(np.uint8)


def _q8_0(flat: Floats) -> NDArray[np.uint8]:
    scale = (np.abs(flat).max(-1, keepdims=True) / 127).astype(np.float16)
    levels = np.rint(np.divide(flat, scale, where=scale != 0, out=np.zeros_like(flat), dtype=np.float32))
    return np.concatenate(
        [scale.view(np.uint8), np.clip(levels, -127, 127).astype(np.int8).view(np.uint8)], -1
    )


def _q6_k(flat: Floats) -> NDArray[np.uint8]:
    groups = flat.reshape(-1, 16, 16)
    scales = _symmetric_scales(groups)
    largest = np.take_along_axis(scales, np.abs(scales).argmax(-1)[:, None], -1)
    d = (largest / -128).astype(np.float16)
    whole = d.astype(np.float32)
    scales = np.rint(np.divide(scales, whole, where=whole != 0, out=np.zeros_like(scales)))
    scales = np.clip(scales, -128, 127)
    step = (scales * whole)[..., None]
    levels = np.rint(np.divide(groups, step, where=step != 0, out=np.zeros_like(groups)))
    levels = (np.clip(levels, -32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    blocks = np.zeros(len(flat), Q6_K)
    blocks["d"] = d[:, 0]
    blocks["scales"] = scales
    blocks["ql"] = (levels[:, :, :2] & 15) | ((levels[:, :, 2:] & 15) << 4)
    shifts = np.arange(0, 8, 2, dtype=np.uint8).reshape(1, 1, 4, 1)
    blocks["qh"] = ((levels >> 4) << shifts).sum(2, dtype=np.uint8)[:, :, None]
    return blocks.view(np.uint8)


def _symmetric_scales(groups: Floats) -> Floats:
    """By group, the scale s for which `s * level`, level in -32..31, has the least weighted squared error."""
    weight = groups * groups
    extreme = np.take_along_axis(groups, np.abs(groups).argmax(-1)[..., None], -1)
    best = np.zeros(groups.shape[:-1], np.float32)
    least = np.full(groups.shape[:-1], np.inf, np.float32)
    for candidate in np.linspace(-33.0, -29.0, 17, dtype=np.float32):
        inverse = np.divide(candidate, extreme, where=extreme != 0, out=np.zeros_like(extreme))
        levels = np.clip(np.rint(groups * inverse), -32, 31)
        norm = (weight * levels * levels).sum(-1)
        scale = np.divide((weight * levels * groups).sum(-1), norm, where=norm > 0, out=np.zeros_like(norm))
        error = (weight * (groups - scale[..., None] * levels) ** 2).sum(-1)
        better = error < least
        best, least = np.where(better, scale, best), np.where(better, error, least)
    return best


def _q4_k(flat: Floats) -> NDArray[np.uint8]:
    groups = flat.reshape(-1, 8, 32)
    scales, minimums = _affine_scales(groups)
    d = (scales.max(-1, keepdims=True) / 63).astype(np.float16)
    dmin = (minimums.max(-1, keepdims=True) / 63).astype(np.float16)
    sixes = []
    for values, unit in ((scales, d.astype(np.float32)), (minimums, dmin.astype(np.float32))):
        whole = np.divide(values, unit, where=unit != 0, out=np.zeros_like(values))
        sixes.append(np.clip(np.rint(whole), 0, 63).astype(np.uint8))
    step = (sixes[0] * d.astype(np.float32))[..., None]
    offset = (sixes[1] * dmin.astype(np.float32))[..., None]
    levels = np.divide(groups + offset, step, where=step != 0, out=np.zeros_like(groups))
    levels = np.clip(np.rint(levels), 0, 15).astype(np.uint8).reshape(-1, 4, 2, 32)
    blocks = np.zeros(len(flat), Q4_K)
    blocks["d"], blocks["dmin"] = d[:, 0], dmin[:, 0]
    blocks["scales"] = _packed_sixes(*sixes)
    blocks["qs"] = levels[:, :, 0] | (levels[:, :, 1] << 4)
    return blocks.view(np.uint8)


def _affine_scales(groups: Floats) -> tuple[Floats, Floats]:
    """By group, s and m of at least 0 for which `s * level - m`, level in 0..15, has the least error."""
    weight = np.sqrt((groups * groups).mean(-1, keepdims=True)) + np.abs(groups)
    low, high = np.minimum(groups.min(-1, keepdims=True), 0), groups.max(-1, keepdims=True)
    span = np.maximum(high - low, 1e-30)
    total = weight.sum(-1)
    mean = (weight * groups).sum(-1)
    best = (np.maximum(high - low, 0) / 15)[..., 0]
    offset = -low[..., 0]
    least = np.full(best.shape, np.inf, np.float32)
    for steps in np.linspace(13.5, 17.0, 29, dtype=np.float32):
        levels = np.clip(np.rint((groups - low) * (steps / span)), 0, 15)
        first, second = (weight * levels).sum(-1), (weight * levels * levels).sum(-1)
        mixed = (weight * levels * groups).sum(-1)
        determinant = total * second - first * first
        sound = determinant > 1e-12 * total * second
        determinant = np.where(sound, determinant, 1)
        scale = (total * mixed - first * mean) / determinant
        minimum = (first * mixed - second * mean) / determinant
        # A negative minimum cannot be stored: use 0 and fit the scale alone.
        lifted = minimum < 0
        scale = np.where(lifted, mixed / np.maximum(second, 1e-30), scale)
        minimum = np.where(lifted, 0, minimum)
        error = (weight * (groups - scale[..., None] * levels + minimum[..., None]) ** 2).sum(-1)
        better = sound & (scale >= 0) & (error < least)
        best, offset = np.where(better, scale, best), np.where(better, minimum, offset)
        least = np.where(better, error, least)
    return best.astype(np.float32), offset.astype(np.float32)


def _packed_sixes(scales: NDArray[np.uint8], minimums: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack eight 6-bit scales and minimums into 12 bytes.

    The first four of each take the low 6 bits of bytes 0..7. The others are split: their high 2 bits are the
    high bits of these bytes, their low 4 bits are in bytes 8..11.
    """
    packed = np.empty((len(scales), 12), np.uint8)
    packed[:, 0:4] = (scales[:, :4]) | ((scales[:, 4:] >> 4) << 6)
    packed[:, 4:8] = (minimums[:, :4]) | ((minimums[:, 4:] >> 4) << 6)
    packed[:, 8:12] = (scales[:, 4:] & 15) | ((minimums[:, 4:] & 15) << 4)
    return packed
