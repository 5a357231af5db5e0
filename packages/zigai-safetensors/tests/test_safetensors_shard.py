"""Safetensors files: what is read, and headers that lie."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError, UnsupportedError, ZigAIError
from zigai_safetensors.shard import read_shard


def read(tmp_path: Path, content: bytes) -> Any:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    return read_shard(path)


def test_tensors_are_views_with_their_types_and_shapes(tmp_path: Path, make: Any) -> None:
    tensors = read(tmp_path, make.shard(*make.entries(make.tensors)))
    assert list(tensors) == list(make.tensors)
    for name, array in make.tensors.items():
        assert tensors[name].shape == array.shape
        assert np.array_equal(tensors[name].to_float32(), array)
        assert not tensors[name].data.flags.writeable
    assert len({tensor.identity for tensor in tensors.values()}) == len(tensors)


def test_bfloat16_a_number_alone_and_spaces_after_the_header(tmp_path: Path, make: Any) -> None:
    header = {
        "half": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]},
        "one": {"dtype": "F32", "shape": [], "data_offsets": [4, 8]},
    }
    padded = json.dumps(header).encode() + b"    "
    tensors = read(tmp_path, make.shard(padded, bytes.fromhex("803f 00c0") + np.float32(3).tobytes()))
    assert tensors["half"].to_float32().tolist() == [[1.0, -2.0]]
    assert tensors["one"].to_float32().tolist() == [3.0]


def entry(**changed: Any) -> dict[str, Any]:
    return {"t": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changed}}


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (entry(dtype="F4"), "has elements of type 'F4'; known are F64, F32"),
        (entry(dtype=3), "its dtype is 3"),
        (entry(shape=[2, -2]), "its shape is"),
        (entry(shape=[2.0, 2]), "its shape is"),
        (entry(shape=[True, 4]), "its shape is"),
        (entry(shape=[2, 2, 1, 1, 1, 1]), "at most 5 whole numbers"),
        (entry(shape=[2, 0]), "a dimension is zero"),
        (entry(shape=[1 << 61, 1 << 61]), "takes 2126764793255865396646"),
        (entry(shape=[1 << 62]), "its shape is"),
        (entry(data_offsets=[0, 12]), "takes 16 bytes, but has 12"),
        (entry(data_offsets=[16, 0]), "data_offsets are"),
        (entry(data_offsets=[0]), "data_offsets are"),
        (entry(data_offsets=[0, 8, 16]), "data_offsets are"),
        (entry(data_offsets=[4, 20]), "4 bytes before tensor 't' belong to none"),
        (entry(more=1), "must have data_offsets, dtype, shape"),
        ({"t": [1]}, "must have data_offsets, dtype, shape"),
        (entry(shape=[2, 4], data_offsets=[0, 32]), "ends at byte 32 of the tensors, of 16 in all"),
        (entry(shape=[2], data_offsets=[0, 8]), "8 bytes after the last tensor belong to none"),
        ({}, "16 bytes after the last tensor"),
        (
            entry(shape=[2], data_offsets=[0, 8]) | {"u": entry(shape=[3], data_offsets=[4, 16])["t"]},
            "tensor 'u' overlaps tensor 't'",
        ),
        (
            entry(shape=[1], data_offsets=[0, 4]) | {"u": entry(shape=[2], data_offsets=[8, 16])["t"]},
            "4 bytes between the tensors 't' and 'u' belong to none",
        ),
        (b'{"t": 1, "t": 2}', "holds 't' twice"),
        (b"[1]", "not an object"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"\xff": 1}', "byte 10: the header is not UTF-8 text"),
    ],
)
def test_a_header_that_is_wrong_is_named(tmp_path: Path, make: Any, header: Any, error: str) -> None:
    with pytest.raises(ZigAIError) as caught:
        read(tmp_path, make.shard(header, bytes(16)))
    assert isinstance(caught.value, (FormatError, UnsupportedError))
    assert error in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("length", [17, 1 << 20, 1 << 63, (1 << 64) - 1])
def test_a_length_beyond_the_file_is_named(tmp_path: Path, make: Any, length: int) -> None:
    with pytest.raises(FormatError, match=rf"the header has {length} bytes, but the file ends after 16 more"):
        read(tmp_path, make.shard(b"{}", bytes(14), length))


def test_a_file_cut_at_any_byte_is_an_error(tmp_path: Path, make: Any) -> None:
    content = make.shard(*make.entries(make.tensors))
    for length in [*range(len(content) - 300), *range(len(content) - 20, len(content))]:
        with pytest.raises(FormatError):
            read(tmp_path, content[:length])


def test_mutated_files_are_read_or_refused_and_take_little_memory(tmp_path: Path, make: Any) -> None:
    content = make.shard(*make.entries(make.tensors))
    header = 8 + int.from_bytes(content[:8], "little")
    chance = random.Random(7)
    refused = 0
    tracemalloc.start()
    for _ in range(3000):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(header)
            damaged[place] = (
                chance.choice(b'"{}[]:,0919 \xff\x00') if chance.random() < 0.7 else chance.randrange(256)
            )
        try:
            for tensor in read(tmp_path, bytes(damaged)).values():
                assert tensor.data.nbytes <= len(content)
        except ZigAIError:
            refused += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused > 1500
    assert peak < 4 << 20
