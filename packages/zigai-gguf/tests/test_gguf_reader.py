from __future__ import annotations

import gc
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError, UnsupportedError, ZigAIError
from zigai_gguf import GGUFFile, NestedArray, StringArray, ValueType

Build = Callable[..., Path]

SCALARS: list[tuple[ValueType, str, Any]] = [
    (ValueType.UINT8, "B", 255),
    (ValueType.INT8, "b", -128),
    (ValueType.UINT16, "H", 65535),
    (ValueType.INT16, "h", -32768),
    (ValueType.UINT32, "I", 2**32 - 1),
    (ValueType.INT32, "i", -(2**31)),
    (ValueType.FLOAT32, "f", 1.5),
    (ValueType.BOOL, "?", True),
    (ValueType.UINT64, "Q", 2**64 - 1),
    (ValueType.INT64, "q", -(2**63)),
    (ValueType.FLOAT64, "d", 0.1),
]


@pytest.mark.parametrize(("kind", "form", "value"), SCALARS, ids=lambda value: str(value))
def test_a_number_of_each_type_is_read_with_its_type(
    build: Build, raw: Any, kind: ValueType, form: str, value: Any
) -> None:
    file = GGUFFile.open(build(keys=[raw.key("x", kind, struct.pack(f"<{form}", value))]))
    assert file.metadata["x"] == value
    assert type(file.metadata["x"]) is type(value)
    assert file.metadata.value_type("x") is kind


@pytest.mark.parametrize(("kind", "form", "value"), SCALARS, ids=lambda value: str(value))
def test_an_array_of_each_type_is_a_read_only_view(
    build: Build, raw: Any, kind: ValueType, form: str, value: Any
) -> None:
    file = GGUFFile.open(build(keys=[raw.numbers("x", kind, form, [value, 0, value])]))
    array = file.metadata["x"]
    assert array.tolist() == [value, 0, value]
    assert not array.flags.writeable
    assert not array.flags.owndata
    assert file.metadata.value_type("x") is ValueType.ARRAY
    assert file.metadata.typed_value("x").type is kind


def test_an_empty_array_at_the_end_of_a_file_is_read(build: Build, raw: Any) -> None:
    metadata = GGUFFile.open(build(keys=[raw.numbers("x", 6, "f", []), raw.strings("y", [])])).metadata
    assert metadata["x"].shape == (0,)
    assert list(metadata["y"]) == []


def test_strings_and_arrays_of_strings_are_read(build: Build, raw: Any) -> None:
    keys = [raw.key("x", 8, raw.text("naïve\0")), raw.strings("y", ["a", "", "日本", "🦙\0"])]
    metadata = GGUFFile.open(build(keys=keys)).metadata
    assert metadata["x"] == "naïve\0"
    assert isinstance(metadata["y"], StringArray)
    assert metadata["y"] == ["a", "", "日本", "🦙\0"]


def test_nested_arrays_keep_their_structure(build: Build, raw: Any) -> None:
    inner = struct.pack("<IQ2b", 1, 2, -1, 5) + struct.pack("<IQ", 8, 1) + raw.text("a")
    metadata = GGUFFile.open(build(keys=[raw.key("x", 9, struct.pack("<IQ", 9, 2) + inner)])).metadata
    assert isinstance(metadata["x"], NestedArray)
    assert metadata["x"][0].tolist() == [-1, 5]
    assert metadata["x"][1] == ["a"]


@pytest.mark.parametrize("version", [2, 3])
def test_versions_2_and_3_are_read(build: Build, version: int) -> None:
    assert GGUFFile.open(build(version=version)).version == version


def test_a_tensor_is_a_read_only_view_with_a_shape_in_numpys_order(build: Build, raw: Any) -> None:
    values = np.arange(6, dtype="<f4")
    file = GGUFFile.open(build(tensors=[raw.tensor("x", [3, 2])], data=values.tobytes()))
    x = file.tensors["x"]
    assert x.shape == (2, 3)
    assert x.dtype.name == "F32"
    assert not x.data.flags.writeable
    assert not x.data.flags.owndata
    assert x.to_float32().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_tensor_without_dimensions_is_one_number(build: Build, raw: Any) -> None:
    file = GGUFFile.open(build(tensors=[raw.tensor("x", [])], data=struct.pack("<f", 7)))
    assert file.tensors["x"].shape == (1,)
    assert file.tensors["x"].to_float32().tolist() == [7]


def test_tensor_data_may_be_in_any_order_with_gaps(build: Build, raw: Any) -> None:
    tensors = [raw.tensor("x", [1], 0, 128), raw.tensor("y", [1], 0, 0)]
    file = GGUFFile.open(build(tensors=tensors, data=struct.pack("<f124xf", 1, 2)))
    assert file.tensors["x"].to_float32().tolist() == [2]
    assert file.tensors["y"].to_float32().tolist() == [1]


def test_tensors_have_the_alignment_of_the_file(build: Build, raw: Any) -> None:
    keys = [raw.key("general.alignment", 4, struct.pack("<I", 256))]
    tensors = [raw.tensor("x", [1], 0, 0), raw.tensor("y", [1], 0, 256)]
    file = GGUFFile.open(build(keys=keys, tensors=tensors, data=struct.pack("<f252xf", 1, 2), alignment=256))
    assert file.alignment == 256
    assert file.tensors["y"].to_float32().tolist() == [2]


def test_the_file_stays_mapped_as_long_as_a_view_of_it_lives(build: Build, raw: Any) -> None:
    path = build(
        keys=[raw.strings("s", ["a", "b"])],
        tensors=[raw.tensor("x", [2])],
        data=struct.pack("<2f", 3, 4),
    )
    file = GGUFFile.open(path)
    data, words = file.tensors["x"].data, file.metadata["s"]
    del file
    gc.collect()
    path.unlink()
    assert data.view("<f4").tolist() == [3, 4]
    assert list(words) == ["a", "b"]


def test_a_path_that_is_not_a_gguf_file_is_a_format_error_on_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty.gguf"
    empty.touch()
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK\x03\x04 and so on")
    old = tmp_path / "old.bin"
    old.write_bytes(b"tjgg\x03\0\0\0")
    for path, what in [
        (empty, "byte 0: the file is empty"),
        (tmp_path, "is a folder"),
        (tmp_path / "missing.gguf", "there is no such file"),
        (other / "below", "cannot be read"),
        (Path("/dev/null"), "is not a regular file"),
        (other, "byte 0: the magic is b'PK"),
        (old, "before GGUF"),
        (tmp_path / "a\0b", "cannot be read"),
        (tmp_path / "a\n\x1b[2Jb", r"a \\x1b\[2Jb: there is no such file"),
        (tmp_path / ("x" * 300), "cannot be read"),
    ]:
        with pytest.raises(FormatError, match=what) as caught:
            GGUFFile.open(path)
        assert str(caught.value).isprintable()
        assert str(path)[:-2].replace("\0", "\\x00").replace("\n\x1b", " \\x1b") in str(caught.value)


def test_a_file_without_read_permission_is_a_format_error(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    path = build()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FormatError, match="cannot be read: Permission denied"):
        GGUFFile.open(path)


@pytest.mark.parametrize(
    ("version", "what"),
    [
        (0, "version 0"),
        (1, "version 1 is not supported"),
        (4, "version 4"),
        (0x03000000, "big-endian"),
        (0x02000000, "big-endian"),
        (0x20000, "version 131072"),
    ],
)
def test_unsupported_versions_and_byte_orders_are_an_error(build: Build, version: int, what: str) -> None:
    with pytest.raises(UnsupportedError, match=what):
        GGUFFile.open(build(version=version))


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (4, "Q4_2.*removed"),
        (33, "Q4_0_8_8.*removed"),
        (98, "ik_llama.cpp"),
        (137, "ik_llama.cpp"),
        (230, "ik_llama.cpp"),
        (43, "unknown"),
        (2**32 - 1, "unknown"),
    ],
)
def test_an_unknown_tensor_type_is_an_error_that_names_the_tensor(
    build: Build, raw: Any, number: int, what: str
) -> None:
    path = build(tensors=[raw.tensor("blk.0.x", [32], number)], data=bytes(64))
    with pytest.raises(UnsupportedError, match=f"'blk.0.x' has type {number}.*{what}") as caught:
        GGUFFile.open(path)
    assert "'blk.0.x'" in str(caught.value)
    assert str(number) in str(caught.value)


def test_a_tensor_of_vectors_of_a_code_book_is_dequantised(build: Build, raw: Any) -> None:
    path = build(tensors=[raw.tensor("x", [256], 16)], data=b"\0\x40" + bytes(64))
    x = GGUFFile.open(path).tensors["x"]
    assert (x.dtype.name, x.nbytes) == ("IQ2_XXS", 66)
    assert (
        x.to_float32().tolist() == [2.0] * 256
    )  # d = 2: 2 * 1/2 * 1/4 times the first vector, eight times 8


def test_an_error_names_file_byte_and_field(build: Build) -> None:
    path = build(b"GGUF")
    with pytest.raises(ZigAIError, match=r"model\.gguf: byte 4: the version needs 4 bytes but the file ends"):
        GGUFFile.open(path)
