"""Written files: what they contain, their layout, and atomic replacement."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError
from zigai_gguf import GGUFFile, TensorData, Typed, ValueType, limits, write_gguf
from zigai_gguf.tensor_types import TENSOR_TYPES
from zigai_gguf.values import NUMPY_TYPES
from zigai_gguf.writer import plan

KINDS = [kind for kind in ValueType if kind is not ValueType.ARRAY]


def scalars(kind: ValueType) -> st.SearchStrategy[Any]:
    if kind is ValueType.STRING:
        return st.text(max_size=6)
    return npst.from_dtype(NUMPY_TYPES[kind], allow_nan=False).map(lambda value: value.item())


def arrays(kind: ValueType) -> st.SearchStrategy[Any]:
    if kind is ValueType.STRING:
        return st.lists(st.text(max_size=4), max_size=4)
    return npst.arrays(NUMPY_TYPES[kind], st.integers(0, 5), elements={"allow_nan": False})


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
def test_written_metadata_and_tensors_are_read_back(
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


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 65536])
def test_an_invalid_name_is_an_error(path: Path, name: str) -> None:
    with pytest.raises(FormatError, match="is not a valid name"):
        write_gguf(path, {name: 1})
    with pytest.raises(FormatError, match="is not a valid name"):
        write_gguf(path, {}, {name: np.ones(1, np.float32)})


@pytest.mark.parametrize("alignment", [0, 1, 4, 24, 2**25, -8, True, "32"])
def test_an_invalid_alignment_is_an_error(path: Path, alignment: Any) -> None:
    with pytest.raises(FormatError, match="the alignment is"):
        write_gguf(path, {}, alignment=alignment)
    with pytest.raises(FormatError, match="the alignment is"):
        write_gguf(path, {"general.alignment": alignment})


def test_the_alignment_of_the_metadata_is_kept_unless_an_argument_overrides_it(path: Path) -> None:
    x = {"x": np.ones(1, np.float32), "y": np.ones(1, np.float32)}
    write_gguf(path, {"general.alignment": 128}, x)
    file = GGUFFile.open(path)
    assert file.alignment == 128
    write_gguf(path, file.metadata, x, alignment=32)
    assert GGUFFile.open(path).alignment == 32


def test_a_file_is_replaced_atomically(tmp_path: Path) -> None:
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


def test_a_file_that_is_replaced_passes_its_permissions_on(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path, {"a": 1})
    for mode in (0o600, 0o640, 0o444):
        path.chmod(mode)
        write_gguf(path, {"a": mode})
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_link_stays_one(tmp_path: Path) -> None:
    target, link = tmp_path / "target.gguf", tmp_path / "link.gguf"
    link.symlink_to(target.name)
    for value in (1, 2):  # a target that does not exist yet, and one that does
        write_gguf(link, {"a": value})
        assert link.is_symlink()
        assert not target.is_symlink()
        assert GGUFFile.open(target).metadata["a"] == value


def test_a_file_that_appears_meanwhile_is_not_replaced_unless_that_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"

    def another_writes(new: Path) -> None:
        assert GGUFFile.open(new).metadata["a"] == 2
        path.write_bytes(b"mine")

    with pytest.raises(FormatError, match=r"model\.gguf: exists already: remove it"):
        write_gguf(path, {"a": 2}, overwrite=False, check=another_writes)
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]
    path.unlink()
    write_gguf(path, {"a": 2}, overwrite=False)
    assert list(tmp_path.iterdir()) == [path]


def test_a_mapped_file_can_be_rewritten_in_place(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    write_gguf(path, {"a": 1}, {"x": np.arange(5, dtype=np.float32)})
    file = GGUFFile.open(path)
    write_gguf(path, {**file.metadata.typed(), "a": 2}, file.tensors)
    again = GGUFFile.open(path)
    assert again.metadata["a"] == 2
    assert again.tensors["x"].to_float32().tolist() == [0, 1, 2, 3, 4]
    assert file.tensors["x"].to_float32().tolist() == [0, 1, 2, 3, 4]


def test_a_path_that_cannot_be_written_is_a_format_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be written: No such file"):
        write_gguf(tmp_path / "missing" / "x.gguf", {})
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(FormatError, match="cannot be written"):
        write_gguf(tmp_path / "folder.gguf", {})
    assert [p.name for p in tmp_path.iterdir()] == ["folder.gguf"]


def test_a_plan_is_the_layout_of_the_written_file(path: Path) -> None:
    data = {"x": TensorData.of(np.ones(3, np.float32)), "y": TensorData.of(np.ones(1, np.float16))}
    layout = plan({"a": 1}, data)
    write_gguf(path, {"a": 1}, data)
    content = path.read_bytes()
    assert content[: len(layout.header)] == layout.header
    assert len(content) == layout.size
    assert content[layout.positions["y"] :][:2] == np.float16(1).tobytes()
    assert layout.positions["y"] == layout.positions["x"] + 32
