"""Damaged files give a descriptor or a `ZigAIError`, in bounded time."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError, ZigAIError
from zigai_gguf import GGUFFormat, TensorData, Typed, ValueType, write_gguf
from zigai_gguf.tensor_types import TENSOR_TYPES


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small file with every type of value, a vocabulary and tensors of three types."""
    path = tmp_path_factory.mktemp("whole") / "x.gguf"
    metadata = {
        "general.architecture": "llama",
        "general.name": "x",
        "general.alignment": 32,
        "llama.block_count": 2,
        "n.array": [[1, 2], ["a"], [[True]]],
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "é"],
        "tokenizer.ggml.scores": [0.0, 0.0, 0.0, -1.0],
        "tokenizer.ggml.token_type": [2, 3, 3, 1],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.add_bos_token": True,
        **{
            f"n.{kind.name}": Typed(kind, 1)
            for kind in ValueType
            if kind not in (ValueType.STRING, ValueType.ARRAY, ValueType.BOOL)
        },
    }
    tensors = {
        "a": TensorData.of(np.ones((2, 3), np.float32)),
        "b": TensorData.from_bytes(bytes(36), (2, 32), TENSOR_TYPES[2]),
        "c": TensorData.from_bytes(bytes(66), (256,), TENSOR_TYPES[16]),
    }
    write_gguf(path, metadata, tensors)
    GGUFFormat().read(path)
    return path.read_bytes()


def use(path: Path) -> None:
    """Reads the file and everything in its descriptor."""
    model = GGUFFormat().read(path)
    for tensor in model.tensors.values():
        assert tensor.data.nbytes == tensor.dtype.nbytes(tensor.shape)
        tensor.data.sum()
    if model.tokenizer is not None:
        assert all(isinstance(token, str) for token in model.tokenizer.tokens)
        assert all(0 <= token < len(model.tokenizer.tokens) for token in model.tokenizer.end_ids)
    repr(model.metadata)


def test_a_file_truncated_at_any_byte_is_a_format_error(whole: bytes, tmp_path: Path) -> None:
    # CVE-2024-32878. The padding after the last tensor may be missing.
    end = len(whole) - (-66 % 32)
    path = tmp_path / "truncated.gguf"
    for length in range(end):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"truncated\.gguf: .*byte ") as caught:
            GGUFFormat().read(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole[:end])
    use(path)


def test_random_damage_gives_a_descriptor_or_a_zigai_error(whole: bytes, tmp_path: Path) -> None:
    rng = random.Random(7)
    path = tmp_path / "damaged.gguf"
    refused = 0
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 1, 1, 2, 8))):
            position = rng.randrange(len(damaged))
            damaged[position] = rng.choice(
                (rng.randrange(256), damaged[position] ^ 1 << rng.randrange(8), 0, 255)
            )
        path.write_bytes(damaged)
        start = time.perf_counter()
        try:
            use(path)
        except ZigAIError as error:
            refused += 1
            assert "\n" not in str(error)
        assert time.perf_counter() - start < 5
    assert 400 < refused < 1900


def test_extreme_numbers_at_any_byte_give_a_descriptor_or_a_zigai_error(whole: bytes, tmp_path: Path) -> None:
    """Any byte may be the first of a 32-bit or 64-bit count, length or offset."""
    path = tmp_path / "extreme.gguf"
    extremes = [b"\xff" * 8, b"\xff" * 7 + b"\x7f", bytes(8), b"\0\0\0\x80", b"\xff\xff\xff\x7f"]
    for position in range(len(whole) - 8):
        value = extremes[position % len(extremes)]
        path.write_bytes(whole[:position] + value + whole[position + len(value) :])
        try:
            use(path)
        except ZigAIError as error:
            assert "\n" not in str(error)
