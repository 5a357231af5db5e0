"""Encoding of float32 as the storage types that have encoders, against definitions in plain Python."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.dtypes.quantize import CHUNK, LARGEST
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError

ENCODED = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K"]
FOUR_BITS = ["Q4_0", "Q4_K"]
CHANCE = np.random.default_rng(17)
ROWS = {
    "normal": CHANCE.normal(0, 0.02, (40, 512)),
    "long tails": CHANCE.standard_t(3, (40, 512)) * 0.01,
    "all positive": CHANCE.uniform(0.5, 1, (40, 512)),
    "all negative": -CHANCE.uniform(0.5, 1, (40, 512)),
    "one outlier": np.where(np.arange(512) % 256 == 7, 3.0, CHANCE.normal(0, 0.01, (40, 512))),
}


def decoded(name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return DTYPES[name].to_float32(DTYPES[name].from_float32(values), values.shape)


def squared_error(values: NDArray[np.float32], of: NDArray[np.floating]) -> float:
    return float(((values.astype(np.float64) - of) ** 2).sum())


def single(value: float) -> float:
    return float(np.float32(value))


def q8_0_block(values: list[float]) -> bytes:
    """A block by the formula of ggml's `quantize_row_q8_0_ref`: each operation in float32, C's `roundf`."""
    scale = single(max(map(abs, values)) / 127)
    inverse = single(1 / scale) if scale else 0.0
    scaled = [single(value * inverse) for value in values]
    codes = [int(math.copysign(math.floor(abs(value) + 0.5), value)) for value in scaled]
    return struct.pack("<e32b", scale, *codes)


def by_the_range(values: NDArray[np.float32], levels: int) -> NDArray[np.float64]:
    """Groups of 32 rounded to `levels` equidistant numbers, of which zero is one or between two."""
    groups = values.astype(np.float64).reshape(-1, 32)
    low = np.minimum(groups.min(axis=1, keepdims=True), 0)
    step = np.maximum((groups.max(axis=1, keepdims=True) - low) / (levels - 1), 1e-30)
    return (np.rint((groups - low) / step) * step + low).reshape(values.shape)


def test_q8_0_has_the_bytes_of_its_formula() -> None:
    rows = [row for of in ROWS.values() for row in of[:6].astype(np.float32).reshape(-1, 32)]
    halves = np.concatenate([[127.0], np.arange(31) - 15.5]).astype(np.float32)
    below, above = np.nextafter(halves, np.float32(0)), np.nextafter(halves, halves * 2)
    below[0] = above[0] = 127
    rows += [halves, below, above]
    rows += [np.zeros(32, np.float32), np.full(32, -0.0, np.float32), np.full(32, -3e-7, np.float32)]
    stored = DTYPES["Q8_0"].from_float32(np.array(rows)).reshape(-1, 34)
    for row, block in zip(rows, stored, strict=True):
        assert block.tobytes() == q8_0_block(row.tolist())


@pytest.mark.parametrize("rows", ROWS)
def test_the_error_of_q4_0_is_below_that_of_a_scale_from_the_peak(rows: str) -> None:
    values = ROWS[rows].astype(np.float32)
    blocks = values.reshape(-1, 32)
    peak = blocks[np.arange(len(blocks)), np.abs(blocks).argmax(axis=1)][:, None]
    plain = np.clip(np.rint(blocks * (-8 / peak)), -8, 7) * (peak / -8)
    assert squared_error(values, decoded("Q4_0", values)) < squared_error(blocks, plain)


@pytest.mark.parametrize("rows", ROWS)
def test_the_error_of_q4_k_is_below_that_of_exact_scales_and_minimums_from_the_range(rows: str) -> None:
    values = ROWS[rows].astype(np.float32)
    error = squared_error(values, decoded("Q4_K", values))
    assert error < 0.97 * squared_error(values, by_the_range(values, 16))


def test_blocks_whose_values_the_type_has_are_encoded_as_they_were() -> None:
    codes = CHANCE.integers(0, 16, (64, 32))
    codes[:, :2] = 0, 15
    blocks = np.empty((64, 18), np.uint8)
    blocks[:, :2] = CHANCE.choice([-1, 1], 64).astype(np.float16)[:, None].view(np.uint8) ^ [3, 0]
    blocks[:, 2:] = codes[:, :16] | codes[:, 16:] << 4
    assert np.array_equal(DTYPES["Q4_0"].from_float32(DTYPES["Q4_0"].dequantize(blocks)), blocks.reshape(-1))
    groups = CHANCE.integers(0, 16, (64, 8, 32))
    groups[:, :, :2] = 0, 15
    scales, minimums = CHANCE.integers(8, 64, (2, 64, 8))
    scales[:, 3] = minimums[:, 5] = 63
    blocks = np.empty((64, 144), np.uint8)
    blocks[:, :4] = np.array([0.00371, 0.0119], np.float16).view(np.uint8)
    for group in range(4):
        blocks[:, 4 + group] = scales[:, group] | scales[:, group + 4] >> 4 << 6
        blocks[:, 8 + group] = minimums[:, group] | minimums[:, group + 4] >> 4 << 6
        blocks[:, 12 + group] = scales[:, group + 4] % 16 | minimums[:, group + 4] % 16 << 4
        blocks[:, 16 + 32 * group :][:, :32] = groups[:, 2 * group] | groups[:, 2 * group + 1] << 4
    assert np.array_equal(DTYPES["Q4_K"].from_float32(DTYPES["Q4_K"].dequantize(blocks)), blocks.reshape(-1))


@pytest.mark.parametrize("name", ["Q8_0", *FOUR_BITS])
@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, -1e-39, 1e-9, 0.1, -0.1, 1000.0, -1000.0])
def test_blocks_of_one_value_are_encoded_as_nearly_that(name: str, value: float) -> None:
    values = np.full((1, 256), value, np.float32)
    assert np.abs(decoded(name, values) - values).max() <= max(abs(value) * 2**-10, 3e-8)


@pytest.mark.parametrize("name", ["Q8_0", *FOUR_BITS])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_number_is_stored_and_a_larger_one_refused(name: str, sign: int) -> None:
    values = CHANCE.uniform(-1, 1, (2, 256)).astype(np.float32) * np.float32(LARGEST[name])
    values[1, 77] = sign * LARGEST[name]
    assert abs(decoded(name, values)[1, 77] / values[1, 77] - 1) < 0.1
    values[1, 77] = np.nextafter(values[1, 77], np.float32(sign * np.inf))
    with pytest.raises(FormatError, match=f"^{values[1, 77]} is too large for {name}$"):
        DTYPES[name].from_float32(values)


@pytest.mark.parametrize("name", ["Q8_0", *FOUR_BITS])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused(name: str, value: float) -> None:
    values = np.zeros((3, 256), np.float32)
    values[2, 200] = value
    with pytest.raises(FormatError, match=f"^{value} is not finite, so {name} cannot store it$"):
        DTYPES[name].from_float32(values)


def test_floats_are_rounded_to_nearest_and_keep_what_is_not_finite() -> None:
    values = np.array([1 + 2**-11, 1 + 3 * 2**-11, -(2**-25), 1.5 * 2**-24, np.inf, np.nan], np.float32)
    halves = DTYPES["F16"].from_float32(values).view(np.float16)
    assert halves[:5].tolist() == [1, 1 + 2**-9, 0, 2**-23, np.inf]
    assert np.isnan(halves[5])
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7FC00000, 0x7F800001, 0xFF800000], np.uint32)
    upper = DTYPES["BF16"].from_float32(bits.view(np.float32)).view(np.uint16)
    assert upper.tolist() == [0x3F80, 0x3F82, 0x3F81, 0x7FC0, 0x7FC0, 0xFF80]
    assert DTYPES["F32"].from_float32(values).tobytes() == values.tobytes()
    for name, value in (("F16", 65520.0), ("BF16", 3.4e38)):
        with pytest.raises(FormatError, match=f"too large for {name}"):
            DTYPES[name].from_float32(np.array([1, -value], np.float32))


@pytest.mark.parametrize("name", ENCODED)
def test_rows_of_more_than_a_chunk_and_strided_ones_have_the_bytes_of_their_parts(name: str) -> None:
    values = CHANCE.normal(size=(CHUNK // 512 + 3, 512)).astype(np.float32)
    whole = DTYPES[name].from_float32(values)
    parts = [DTYPES[name].from_float32(row[None]) for row in values]
    assert np.array_equal(whole, np.concatenate(parts))
    assert whole.size == DTYPES[name].nbytes(values.shape)
    wide = np.repeat(values, 2, axis=1)
    assert np.array_equal(DTYPES[name].from_float32(wide[:, ::2]), whole)
    assert DTYPES[name].from_float32(values[:0]).size == 0


def test_other_types_and_other_widths_are_refused() -> None:
    assert [name for name, dtype in DTYPES.items() if dtype.quantize is not None] == sorted(
        ENCODED, key=list(DTYPES).index
    )
    with pytest.raises(UnsupportedError, match="Q6_K"):
        DTYPES["Q6_K"].from_float32(np.zeros((1, 256), np.float32))
    with pytest.raises(ShapeError, match="48 elements is not a whole number of Q4_0 blocks"):
        DTYPES["Q4_0"].from_float32(np.zeros((2, 48), np.float32))
