"""Dequantisation of the storage types in core, against values decoded by the `gguf` package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.dtypes.codebooks import code_book, signs
from zigai_core.contracts.dtypes.dequantize import CHUNK
from zigai_core.contracts.errors import ShapeError

GOLDEN = np.load(Path(__file__).with_name("data") / "dequantize.npz")
QUANTISED = [name for name in DTYPES if DTYPES[name].block_size > 1]
BY_FORMULA = ["Q8_1", "Q8_K", "Q1_0", "Q2_0"]
"""Types that the `gguf` package does not decode."""
DECODED = [name for name in QUANTISED if name not in BY_FORMULA]


def golden(name: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    return GOLDEN[f"{name}.blocks"], GOLDEN[f"{name}.values"]


def bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(values).view(np.uint32)


@pytest.mark.parametrize("name", ["F16", "BF16", *DECODED])
def test_blocks_decode_bitwise_as_the_gguf_package_does(name: str) -> None:
    blocks, values = golden(name)
    decoded = DTYPES[name].dequantize(blocks)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(bits(decoded), bits(values))


@pytest.mark.parametrize("name", ["F16", "BF16", *DECODED])
def test_misaligned_and_strided_blocks_decode_to_the_same_values(name: str) -> None:
    blocks, values = golden(name)
    shifted = np.empty(blocks.size + 1, np.uint8)[1:].reshape(blocks.shape)
    shifted[...] = blocks
    np.testing.assert_array_equal(DTYPES[name].dequantize(shifted), values)
    wide = np.repeat(blocks, 2, axis=0)
    np.testing.assert_array_equal(DTYPES[name].dequantize(wide[::2]), values)


@pytest.mark.parametrize("name", DECODED)
def test_more_blocks_than_a_chunk_decode_to_the_same_values(name: str) -> None:
    blocks, values = golden(name)
    repeats = 2 * CHUNK // values.size + 2
    decoded = DTYPES[name].dequantize(np.tile(blocks, (repeats, 1)))
    np.testing.assert_array_equal(decoded, np.tile(values, (repeats, 1)))


def test_a_q4_0_block_decodes_to_values_computed_by_its_formula() -> None:
    block = np.array([0x00, 0x40, *[0x80] * 16], np.uint8)  # d = 2, every byte: low nibble 0, high nibble 8
    assert DTYPES["Q4_0"].dequantize(block[None])[0].tolist() == [-16.0] * 16 + [0.0] * 16


def test_types_of_activations_are_a_scale_times_bytes() -> None:
    q = np.arange(-128, 128, dtype=np.int8)
    of_32 = np.concatenate([np.array([0.5, 99], "<f2").view(np.uint8), q[:32].view(np.uint8)])
    np.testing.assert_array_equal(DTYPES["Q8_1"].dequantize(of_32[None])[0], q[:32] * 0.5)
    of_256 = np.concatenate(
        [np.array([0.25], "<f4").view(np.uint8), q.view(np.uint8), np.zeros(32, np.uint8)]
    )
    np.testing.assert_array_equal(DTYPES["Q8_K"].dequantize(of_256[None])[0], q * 0.25)


def test_one_and_two_bits_are_read_from_the_lowest_on() -> None:
    d = np.array([2], "<f2").view(np.uint8)
    ones = np.concatenate([d, np.array([0b1010_0001, *[0xFF] * 15], np.uint8)])
    expected = [2, -2, -2, -2, -2, 2, -2, 2, *[2] * 120]
    assert DTYPES["Q1_0"].dequantize(ones[None])[0].tolist() == expected
    twos = np.concatenate([d, np.array([0b11_10_01_00, *[0] * 15], np.uint8)])
    assert DTYPES["Q2_0"].dequantize(twos[None])[0].tolist() == [-2, 0, 2, 4, *[-2] * 60]


@pytest.mark.parametrize(
    ("name", "vectors", "values"),
    [
        ("IQ1_S", (2048, 8), [-1, 0, 1]),
        ("IQ2_XXS", (256, 8), [8, 25, 43]),
        ("IQ2_XS", (512, 8), [8, 25, 43]),
        ("IQ2_S", (1024, 8), [8, 25, 43]),
        ("IQ3_XXS", (256, 4), [4, 12, 20, 28, 36, 44, 52, 62]),
        ("IQ3_S", (512, 4), [1, 3, 5, 7, 9, 11, 13, 15]),
    ],
)
def test_code_books_are_different_vectors_of_a_few_values(
    name: str, vectors: tuple[int, int], values: list[int]
) -> None:
    table = code_book(name)
    assert (table.shape, table.dtype, table.flags.c_contiguous) == (vectors, np.int8, True)
    assert np.unique(table).tolist() == values
    assert len(np.unique(table, axis=0)) == len(table)
    assert not table.flags.writeable


def test_signs_have_an_even_number_of_minuses() -> None:
    assert (signs().astype(int).prod(axis=1) == 1).all()
    assert len(np.unique(signs(), axis=0)) == 128


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("F32", "<f4"),
        ("F16", "<f2"),
        ("F64", "<f8"),
        ("I8", "<i1"),
        ("I16", "<i2"),
        ("I32", "<i4"),
        ("I64", "<i8"),
    ],
)
def test_plain_numbers_keep_their_values(name: str, stored: str) -> None:
    values = np.array([[0, 1, -2], [100, -128, 127]], stored)
    decoded = DTYPES[name].to_float32(values.reshape(-1).view(np.uint8), (2, 3))
    np.testing.assert_array_equal(decoded, values)
    assert decoded.dtype == np.float32


def test_bf16_is_the_upper_half_of_a_float32() -> None:
    data = np.array([0x3F80, 0xC000, 0x7F80], "<u2").view(np.uint8)
    assert DTYPES["BF16"].to_float32(data, (3,)).tolist() == [1.0, -2.0, np.inf]


def test_aligned_float32_is_a_view() -> None:
    data = np.arange(6, dtype="<f4").view(np.uint8)
    data.flags.writeable = False
    decoded = DTYPES["F32"].to_float32(data, (2, 3))
    assert np.shares_memory(decoded, data)
    assert not decoded.flags.writeable


def test_misaligned_float32_is_an_aligned_copy() -> None:
    data = np.empty(13, np.uint8)[1:]
    data[...] = np.arange(3, dtype="<f4").view(np.uint8)
    decoded = DTYPES["F32"].to_float32(data, (3,))
    assert decoded.flags.aligned
    assert decoded.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", QUANTISED)
def test_any_bytes_decode_without_a_warning(name: str) -> None:
    dtype = DTYPES[name]
    rng = np.random.default_rng(7)
    blocks = rng.integers(0, 256, (500, dtype.block_bytes), dtype=np.uint8)
    blocks[:100] = 0xFF
    blocks[100:200] = 0x7C
    assert dtype.dequantize(blocks).shape == (500, dtype.block_size)


def test_a_tensor_without_elements_is_empty() -> None:
    for dtype in DTYPES.values():
        assert dtype.to_float32(np.empty(0, np.uint8), (0, 256)).shape == (0, 256)


@pytest.mark.parametrize(
    ("name", "shape", "nbytes"),
    [
        ("F32", (), 4),
        ("F16", (3, 5), 30),
        ("Q4_0", (2, 64), 72),
        ("Q8_0", (1, 32), 34),
        ("Q6_K", (3, 512), 1260),
    ],
)
def test_bytes_of_a_shape(name: str, shape: tuple[int, ...], nbytes: int) -> None:
    assert DTYPES[name].nbytes(shape) == nbytes


@pytest.mark.parametrize("shape", [(), (33,), (2, 16), (64, 1)])
def test_a_row_that_is_not_whole_blocks_is_an_error_with_both_sizes(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ShapeError, match=f"row of {shape[-1] if shape else 1} elements.*Q4_0 blocks, 32 each"
    ):
        DTYPES["Q4_0"].nbytes(shape)


def test_data_of_the_wrong_size_is_an_error_with_both_sizes() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 32\) takes 36 bytes, but there are 18"):
        DTYPES["Q4_0"].to_float32(np.zeros(18, np.uint8), (2, 32))


def test_the_table_is_read_only() -> None:
    with pytest.raises(TypeError):
        DTYPES["F32"] = DTYPES["F16"]  # type: ignore[index]
