from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from zigai_core.contracts.dtypes import DTYPES, DType
from zigai_core.contracts.errors import FormatError, ShapeError
from zigai_gguf import GGUFFile, TensorData, Typed, ValueType, limits, write_gguf
from zigai_gguf.tensor_types import TENSOR_TYPES
from zigai_gguf.values import NUMPY_TYPES
from zigai_gguf.writer import plan

Build = Callable[..., Path]
NUMBERS = [kind for kind in NUMPY_TYPES if kind is not ValueType.BOOL]


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written") / "x.gguf"


def scalars(kind: ValueType) -> st.SearchStrategy[Any]:
    if kind is ValueType.STRING:
        return st.text(max_size=6)
    return npst.from_dtype(NUMPY_TYPES[kind], allow_nan=False).map(lambda value: value.item())


def arrays(kind: ValueType) -> st.SearchStrategy[Any]:
    if kind is ValueType.STRING:
        return st.lists(st.text(max_size=4), max_size=4)
    return npst.arrays(NUMPY_TYPES[kind], st.integers(0, 5), elements={"allow_nan": False})


KINDS = [kind for kind in ValueType if kind is not ValueType.ARRAY]
FLAT = st.sampled_from(KINDS).flatmap(lambda kind: st.builds(Typed, st.just(kind), arrays(kind)))
NESTED = st.recursive(
    st.builds(Typed, st.just(ValueType.ARRAY), st.lists(FLAT, max_size=3)),
    lambda inner: st.builds(Typed, st.just(ValueType.ARRAY), st.lists(inner | FLAT, max_size=2)),
    max_leaves=2,
)
VALUES = st.one_of(
    st.sampled_from(KINDS).flatmap(lambda kind: st.builds(Typed, st.just(kind), scalars(kind))), FLAT, NESTED
)
NAMES = st.text(min_size=1, max_size=8).filter(lambda name: "\0" not in name and name != "general.alignment")


def depth(value: Any) -> int:
    if not isinstance(value, Typed) or not isinstance(value.value, (list, tuple, np.ndarray)):
        return 0
    return 1 + max((depth(v) for v in value.value), default=0)


@st.composite
def tensors(draw: st.DrawFn) -> TensorData:
    dtype = draw(st.sampled_from(sorted(TENSOR_TYPES.values(), key=lambda dtype: dtype.name)))
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=4)))
    shape = (*shape[:-1], shape[-1] * dtype.block_size)
    return TensorData.from_bytes(
        np.frombuffer(draw(st.binary(min_size=1, max_size=4)) * dtype.nbytes(shape), np.uint8)[
            : dtype.nbytes(shape)
        ],
        shape,
        dtype,
    )


def same(read: Any, written: Any) -> bool:
    value = written.value if isinstance(written, Typed) else written
    if isinstance(written, Typed) and written.type is ValueType.ARRAY:
        return len(read) == len(value) and all(same(a, b) for a, b in zip(read, value, strict=True))
    if isinstance(value, np.ndarray):
        return bool(read.dtype == value.dtype) and read.tolist() == value.tolist()
    if isinstance(value, list):
        return list(read) == value
    return type(read) is type(value) and read == value


@given(
    st.dictionaries(NAMES, VALUES.filter(lambda value: depth(value) <= limits.NESTING), max_size=5),
    st.dictionaries(NAMES, tensors(), max_size=4),
    st.sampled_from([None, 8, 32, 64, 4096]),
)
def test_what_is_written_is_read_back(
    path: Path, metadata: dict[str, Typed], data: dict[str, TensorData], alignment: int | None
) -> None:
    write_gguf(path, metadata, data, alignment=alignment)
    file = GGUFFile.open(path)
    assert file.alignment == (alignment or 32)
    assert [key for key in file.metadata if key != "general.alignment"] == list(metadata)
    for key, value in metadata.items():
        assert same(file.metadata[key], value)
        assert file.metadata.typed_value(key).type is value.type
    assert list(file.tensors) == list(data)
    for name, tensor in data.items():
        read = file.tensors[name]
        assert (read.shape, read.dtype) == (tensor.shape, tensor.dtype)
        assert read.data.tobytes() == b"".join(chunk.tobytes() for chunk in tensor.chunks())
        assert read.data.__array_interface__["data"][0] % file.alignment == 0 or file.alignment > 4096
    again = path.with_name("again.gguf")
    write_gguf(again, file.metadata, file.tensors)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, ValueType.BOOL),
        (np.bool_(True), ValueType.BOOL),
        (0, ValueType.UINT32),
        (2**32 - 1, ValueType.UINT32),
        (-1, ValueType.INT32),
        (2**32, ValueType.INT64),
        (-(2**31) - 1, ValueType.INT64),
        (2**63, ValueType.UINT64),
        (1.5, ValueType.FLOAT32),
        (np.float64(1.5), ValueType.FLOAT64),
        (np.int8(1), ValueType.INT8),
        (np.uint64(1), ValueType.UINT64),
        ("x", ValueType.STRING),
    ],
)
def test_a_plain_value_becomes_the_usual_type(path: Path, value: Any, kind: ValueType) -> None:
    write_gguf(path, {"x": value})
    metadata = GGUFFile.open(path).metadata
    assert metadata.value_type("x") is kind
    assert metadata["x"] == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([True, False], ValueType.BOOL),
        ([1, -2], ValueType.INT32),
        ([1, 2**31], ValueType.INT64),
        ([1, 2**63], ValueType.UINT64),
        ([1, 0.5], ValueType.FLOAT32),
        (("a", "b"), ValueType.STRING),
        (np.array([1, 2], ">i2"), ValueType.INT16),
        (np.array([True, False]), ValueType.BOOL),
    ],
)
def test_a_plain_list_or_array_becomes_the_usual_type(path: Path, value: Any, kind: ValueType) -> None:
    write_gguf(path, {"x": value})
    metadata = GGUFFile.open(path).metadata
    assert metadata.typed_value("x").type is kind
    assert list(metadata["x"]) == list(value)


def test_lists_of_lists_become_arrays_of_arrays(path: Path) -> None:
    write_gguf(path, {"x": [[1, 2], ["a"], [[True]]]})
    metadata = GGUFFile.open(path).metadata
    assert metadata.typed_value("x").type is ValueType.ARRAY
    numbers, words, deeper = metadata["x"]
    assert (numbers.dtype, numbers.tolist()) == (np.int32, [1, 2])
    assert words == ["a"]
    assert deeper[0].tolist() == [True]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ([], "'x' is an empty list"),
        ([1, "a"], "'x' is a list of several types"),
        ([True, 1], "'x' is a list of several types"),
        (b"x", "'x' is a bytes"),
        (None, "'x' is a NoneType"),
        ({}, "'x' is a dict"),
        (2**64, "'x' is 18446744073709551616, outside the range of UINT64"),
        (-(2**63) - 1, "outside the range of UINT64"),
        (1e39, "'x' is 1e.39, outside the range of FLOAT32"),
        ([1.0, 1e39], "'x': element 1 is 1e.39, outside the range of FLOAT32"),
        ("\ud800", "'x' cannot be written as UTF-8"),
        (["a", "\ud800"], "'x': element 1 cannot be written as UTF-8"),
        (np.float16(1), "'x' is of type float16"),
        (np.array(["a"]), "'x' is a ndarray"),
        (np.zeros((2, 2)), r"'x' has shape \(2, 2\)"),
        (Typed(ValueType.UINT8, 256), "'x' is 256, outside the range of UINT8"),
        (Typed(ValueType.UINT8, [1, -1]), "'x': element 1 is -1, outside the range of UINT8"),
        (Typed(ValueType.UINT8, np.array([256])), "'x': element 0 is 256, outside the range of UINT8"),
        (
            Typed(ValueType.INT32, np.array([1.5], np.float32)),
            "element 0 is 1.5, which cannot be stored as INT32",
        ),
        (Typed(ValueType.INT32, np.array([2**31], np.uint32)), "element 0 is 2147483648, outside the range"),
        (Typed(ValueType.UINT8, 1.0), "'x' is 1.0, which cannot be stored as UINT8"),
        (Typed(ValueType.UINT8, True), "'x' is True, which cannot be stored as UINT8"),
        (Typed(ValueType.BOOL, 1), "'x' is 1, which cannot be stored as BOOL"),
        (Typed(ValueType.STRING, 1), "'x' is 1, which cannot be stored as STRING"),
        (Typed(ValueType.STRING, ["a", 1]), "'x': element 1 is 1, not a string"),
        (Typed(ValueType.ARRAY, 1), "'x' is 1, which cannot be stored as ARRAY"),
        (Typed(ValueType.ARRAY, [1]), "'x': element 0 is 1, not an array"),
        ([[1]] * (limits.ARRAYS + 1), "'x' has more elements of type ARRAY than can be read"),
        ([""] * (limits.STRINGS + 1), "'x' has more elements of type STRING than can be read"),
        ([[[[[1]]]]], "'x' nests arrays more than 4 deep"),
    ],
)
def test_a_value_that_gguf_cannot_hold_is_named(tmp_path: Path, value: Any, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        write_gguf(tmp_path / "x.gguf", {"x": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 65536])
def test_a_name_that_gguf_cannot_hold_is_refused(path: Path, name: str) -> None:
    with pytest.raises(FormatError, match="cannot be a name"):
        write_gguf(path, {name: 1})
    with pytest.raises(FormatError, match="cannot be a name"):
        write_gguf(path, {}, {name: np.ones(1, np.float32)})


@pytest.mark.parametrize("alignment", [0, 1, 4, 24, 2**25, -8, True, "32"])
def test_an_alignment_that_is_none_is_refused(path: Path, alignment: Any) -> None:
    with pytest.raises(FormatError, match="the alignment is"):
        write_gguf(path, {}, alignment=alignment)
    with pytest.raises(FormatError, match="the alignment is"):
        write_gguf(path, {"general.alignment": alignment})


def test_the_alignment_of_the_metadata_is_kept_and_the_arguments_wins(path: Path) -> None:
    x = {"x": np.ones(1, np.float32), "y": np.ones(1, np.float32)}
    write_gguf(path, {"general.alignment": 128}, x)
    file = GGUFFile.open(path)
    assert file.alignment == 128
    write_gguf(path, file.metadata, x, alignment=32)
    assert GGUFFile.open(path).alignment == 32


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
def test_an_array_is_stored_as_its_own_type(path: Path, dtype: str, name: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)[:, ::2]
    write_gguf(path, {}, {"x": array})
    x = GGUFFile.open(path).tensors["x"]
    assert x.dtype.name == name
    assert x.data.view(array.dtype.newbyteorder("<")).reshape(x.shape).tolist() == array.tolist()


@given(npst.arrays(np.float32, st.integers(1, 8), elements=st.floats(width=16)))
def test_floats_are_rounded_to_half_precision_as_asked(path: Path, array: NDArray[np.float32]) -> None:
    write_gguf(path, {}, {"x": TensorData.from_array(array, "F16")})
    read = GGUFFile.open(path).tensors["x"]
    assert read.dtype.name == "F16"
    np.testing.assert_array_equal(read.data.view("<f2"), array.astype(np.float16))


@given(st.floats(-(2.0**127), 2.0**127, width=32))
def test_floats_are_rounded_to_the_nearest_bf16(path: Path, value: float) -> None:
    write_gguf(path, {}, {"x": TensorData.from_array(np.array([value], np.float32), "BF16")})
    x = GGUFFile.open(path).tensors["x"]
    stored = float(x.to_float32()[0])
    # The distance to the nearest is at most half a step, where a step is 2**-7 of the number's power of two.
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


def test_arrays_larger_than_a_chunk_are_converted_whole(path: Path) -> None:
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
def test_an_array_that_gguf_has_no_type_for_is_refused(make: Callable[[], TensorData]) -> None:
    with pytest.raises(FormatError, match="cannot be stored as"):
        make()


def test_shapes_that_gguf_cannot_hold_are_refused(path: Path) -> None:
    for shape in [(), (0,), (2, 0), (1, 1, 1, 1, 1)]:
        with pytest.raises(FormatError, match="tensor 'x' has shape"):
            write_gguf(path, {}, {"x": np.zeros(shape, np.float32)})
    with pytest.raises(ShapeError):
        TensorData.from_bytes(bytes(18), (33,), DTYPES["Q4_0"])
    with pytest.raises(ShapeError, match="takes 18 bytes, 19 are given"):
        TensorData.from_bytes(bytes(19), (32,), DTYPES["Q4_0"])


def test_a_storage_type_that_gguf_lacks_is_refused(path: Path) -> None:
    own = DType("MINE", 1, 1, lambda data: data.astype(np.float32))
    with pytest.raises(FormatError, match="'x': GGUF has no tensor type MINE"):
        write_gguf(path, {}, {"x": TensorData.from_bytes(b"a", (1,), own)})


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    write_gguf(path, {"a": 1})
    before = path.read_bytes()

    def breaks() -> Iterator[NDArray[np.uint8]]:
        yield np.zeros(4, np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gguf(path, {}, {"x": TensorData((2,), DTYPES["F32"], breaks)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("sizes", [[], [7], [4, 3], [4, 5], [9]])
def test_chunks_that_are_not_the_tensors_bytes_are_refused(tmp_path: Path, sizes: list[int]) -> None:
    data = TensorData((2,), DTYPES["F32"], lambda: [np.zeros(size, np.uint8) for size in sizes])
    with pytest.raises(FormatError, match=f"'x' takes 8 bytes, but {sum(sizes)} were given"):
        write_gguf(tmp_path / "x.gguf", {}, {"x": data})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_mapped_can_be_rewritten_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    write_gguf(path, {"a": 1}, {"x": np.arange(5, dtype=np.float32)})
    file = GGUFFile.open(path)
    write_gguf(path, {**file.metadata.typed(), "a": 2}, file.tensors)
    again = GGUFFile.open(path)
    assert again.metadata["a"] == 2
    assert again.tensors["x"].to_float32().tolist() == [0, 1, 2, 3, 4]
    assert file.tensors["x"].to_float32().tolist() == [0, 1, 2, 3, 4]


def test_a_place_that_cannot_be_written_is_a_format_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be written: No such file"):
        write_gguf(tmp_path / "missing" / "x.gguf", {})
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(FormatError, match="cannot be written"):
        write_gguf(tmp_path / "folder.gguf", {})
    assert [p.name for p in tmp_path.iterdir()] == ["folder.gguf"]


def test_a_plan_says_where_everything_will_stand(path: Path) -> None:
    data = {"x": TensorData.of(np.ones(3, np.float32)), "y": TensorData.of(np.ones(1, np.float16))}
    layout = plan({"a": 1}, data)
    write_gguf(path, {"a": 1}, data)
    content = path.read_bytes()
    assert content[: len(layout.header)] == layout.header
    assert len(content) == layout.size
    assert content[layout.positions["y"] :][:2] == np.float16(1).tobytes()
    assert layout.positions["y"] == layout.positions["x"] + 32
