"""Tensors as they are written: storage types, rounding, and shapes that GGUF cannot store."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from zigai_core.contracts.dtypes import DTYPES, DType
from zigai_core.contracts.errors import FormatError, ShapeError
from zigai_gguf import GGUFFile, TensorData, write_gguf


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        ("f4", "F32"),
        ("f2", "F16"),
        ("f8", "F64"),
        ("i1", "I8"),
        ("i2", "I16"),
        ("i4", "I32"),
        ("i8", "I64"),
        (">f4", "F32"),
        (">i2", "I16"),
    ],
)
def test_an_array_is_stored_in_its_own_type(path: Path, dtype: str, name: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)[:, ::2]
    write_gguf(path, {}, {"x": array})
    x = GGUFFile.open(path).tensors["x"]
    assert x.dtype.name == name
    assert x.data.view(array.dtype.newbyteorder("<")).reshape(x.shape).tolist() == array.tolist()


@given(npst.arrays(np.float32, st.integers(1, 8), elements=st.floats(width=16)))
def test_floats_are_rounded_to_half_precision(path: Path, array: NDArray[np.float32]) -> None:
    write_gguf(path, {}, {"x": TensorData.from_array(array, "F16")})
    read = GGUFFile.open(path).tensors["x"]
    assert read.dtype.name == "F16"
    np.testing.assert_array_equal(read.data.view("<f2"), array.astype(np.float16))


@given(st.floats(-(2.0**127), 2.0**127, width=32))
def test_floats_are_rounded_to_the_nearest_bf16(path: Path, value: float) -> None:
    write_gguf(path, {}, {"x": TensorData.from_array(np.array([value], np.float32), "BF16")})
    x = GGUFFile.open(path).tensors["x"]
    stored = float(x.to_float32()[0])
    # The rounding error is at most half a step; a step is 2**-7 of the number's power of two.
    step = max(2.0 ** (math.frexp(value)[1] - 8), 2.0**-133)
    assert abs(stored - value) <= step / 2


def test_bf16_rounds_ties_to_even_and_keeps_nan_and_infinity(path: Path) -> None:
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7FC00000, 0x7F800001, 0xFF800000], np.uint32)
    write_gguf(path, {}, {"x": TensorData.from_array(bits.view(np.float32), "BF16")})
    stored = GGUFFile.open(path).tensors["x"].data.view("<u2").tolist()
    assert stored == [0x3F80, 0x3F82, 0x3F81, 0x7FC0, 0x7FC0, 0xFF80]


@pytest.mark.parametrize(("dtype", "value"), [("F16", 65520.0), ("BF16", 3.4e38)])
def test_a_number_too_large_for_the_type_is_an_error_and_leaves_no_file(
    tmp_path: Path, dtype: str, value: float
) -> None:
    array = np.array([1, value], np.float32)
    with pytest.raises(FormatError, match=f"too large for {dtype}"):
        write_gguf(tmp_path / "x.gguf", {}, {"x": TensorData.from_array(array, dtype)})
    assert list(tmp_path.iterdir()) == []


def test_arrays_larger_than_a_chunk_are_converted_completely(path: Path) -> None:
    array = np.arange((1 << 20) + 5, dtype=np.float32) % 1000
    write_gguf(path, {}, {"x": TensorData.from_array(array.reshape(1, -1), "F16")})
    np.testing.assert_array_equal(GGUFFile.open(path).tensors["x"].to_float32()[0], array)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TensorData.from_array(np.zeros(2, np.complex64)),
        lambda: TensorData.from_array(np.zeros(2, np.uint8)),
        lambda: TensorData.from_array(np.zeros(2, np.bool_)),
        lambda: TensorData.from_array(np.zeros(2, np.int32), "F16"),
        lambda: TensorData.from_array(np.zeros(32, np.float32), "Q4_0"),
    ],
)
def test_an_array_without_a_gguf_type_is_an_error(make: Callable[[], TensorData]) -> None:
    with pytest.raises(FormatError, match="cannot be stored as"):
        make()


def test_an_invalid_shape_is_an_error(path: Path) -> None:
    for shape in [(), (0,), (2, 0), (1, 1, 1, 1, 1)]:
        with pytest.raises(FormatError, match="tensor 'x' has shape"):
            write_gguf(path, {}, {"x": np.zeros(shape, np.float32)})
    with pytest.raises(ShapeError):
        TensorData.from_bytes(bytes(18), (33,), DTYPES["Q4_0"])
    with pytest.raises(ShapeError, match="takes 18 bytes, but 19 were given"):
        TensorData.from_bytes(bytes(19), (32,), DTYPES["Q4_0"])


def test_a_storage_type_that_gguf_lacks_is_an_error(path: Path) -> None:
    own = DType("MINE", 1, 1, lambda data: data.astype(np.float32))
    with pytest.raises(FormatError, match="'x': GGUF has no tensor type MINE"):
        write_gguf(path, {}, {"x": TensorData.from_bytes(b"a", (1,), own)})


@pytest.mark.parametrize("sizes", [[], [7], [4, 3], [4, 5], [9]])
def test_chunks_of_another_size_than_the_tensor_are_an_error(tmp_path: Path, sizes: list[int]) -> None:
    data = TensorData((2,), DTYPES["F32"], lambda: [np.zeros(size, np.uint8) for size in sizes])
    with pytest.raises(FormatError, match=f"'x' takes 8 bytes, but {sum(sizes)} were given"):
        write_gguf(tmp_path / "x.gguf", {}, {"x": data})
    assert list(tmp_path.iterdir()) == []
