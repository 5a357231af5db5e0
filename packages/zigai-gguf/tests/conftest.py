"""GGUF files built byte by byte: independent of the writer, and with any invalid field."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Build = Callable[..., Path]

U32, STRING, ARRAY, FLOAT32, INT32 = 4, 8, 9, 6, 5


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def key(name: str | bytes, kind: int, payload: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + payload


def strings(name: str, values: Sequence[str | bytes], count: int | None = None) -> bytes:
    head = struct.pack("<IQ", STRING, len(values) if count is None else count)
    return key(name, ARRAY, head + b"".join(text(value) for value in values))


def numbers(name: str, kind: int, form: str, values: Sequence[float], count: int | None = None) -> bytes:
    head = struct.pack("<IQ", kind, len(values) if count is None else count)
    return key(name, ARRAY, head + struct.pack(f"<{len(values)}{form}", *values))


def tensor(name: str | bytes, dims: Sequence[int], kind: int = 0, offset: int = 0) -> bytes:
    """An entry of the tensor table; `dims` is in the order of the file."""
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


ARCHITECTURE = key("general.architecture", STRING, text("llama"))


def raw(
    keys: Sequence[bytes] = (ARCHITECTURE,),
    tensors: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    version: int = 3,
    magic: bytes = b"GGUF",
    tensor_count: int | None = None,
    key_count: int | None = None,
    alignment: int = 32,
) -> bytes:
    header = magic + struct.pack(
        "<IQQ",
        version,
        len(tensors) if tensor_count is None else tensor_count,
        len(keys) if key_count is None else key_count,
    )
    header += b"".join(keys) + b"".join(tensors)
    return header + bytes(-len(header) % alignment) + data if data else header


class Raw:
    """The functions above, for tests, which cannot import this file."""

    text = staticmethod(text)
    key = staticmethod(key)
    strings = staticmethod(strings)
    numbers = staticmethod(numbers)
    tensor = staticmethod(tensor)
    bytes = staticmethod(raw)
    architecture = ARCHITECTURE


@pytest.fixture(name="raw")
def raw_fixture() -> type[Raw]:
    return Raw


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path to write files to, one after another."""
    return tmp_path_factory.mktemp("written") / "x.gguf"


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Writes a file from the arguments of `raw`, or from bytes, and returns its path."""

    def build(content: bytes | None = None, **arguments: Any) -> Path:
        path = tmp_path / "model.gguf"
        path.write_bytes(raw(**arguments) if content is None else content)
        return path

    return build
