"""Writes GGUF version 3, little-endian.

Source: GGUF's specification (ggml, docs/gguf.md); `reader.py` describes the layout.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import IO, Any

from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import FormatError, quote
from zigai_gguf import limits
from zigai_gguf.encoder import encode_metadata, encode_name
from zigai_gguf.metadata import Metadata
from zigai_gguf.reader import ALIGNMENT, MAGIC
from zigai_gguf.tensor_data import TensorData
from zigai_gguf.tensor_types import TYPE_IDS
from zigai_gguf.values import Typed, ValueType

_HEADER = Struct("<4sIQQ")
_U32 = Struct("<I")
_U64 = Struct("<Q")


@dataclass(frozen=True)
class Plan:
    """Layout of a file: header with padding, byte offset of each tensor, and size of the file in bytes."""

    header: bytes
    positions: Mapping[str, int]
    size: int


def write_gguf(
    path: Path | str,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any] | TensorInfo | TensorData] | None = None,
    *,
    alignment: int | None = None,
    overwrite: bool = True,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Writes a file atomically: `path` is created or replaced only after all bytes are written.

    A file that is replaced passes its permissions on, and its owner if the process may; where `path` is a
    link, its target is replaced.

    `metadata`: a reader's `Metadata` keeps its types. A plain value becomes BOOL, STRING, FLOAT32 or UINT32
    (INT32, INT64 or UINT64 if that is too small), a list an array of BOOL, STRING, INT32 (INT64, UINT64),
    FLOAT32 or of arrays. A numpy value or array keeps its own type. `Typed` sets any other type.
    `tensors`: arrays, tensors of another file, or `TensorData`, whose bytes are streamed.
    `alignment`: alignment of tensors in bytes, a power of two; default `general.alignment`, else 32.
    `overwrite`: whether a file may be replaced, also one that another process writes meanwhile.
    `check` is called with the path of the complete file, before that replaces another; what it raises leaves
    everything as it was.

    Raises `FormatError` naming the key or tensor that GGUF cannot store, or if the file cannot be written;
    `ShapeError` for a tensor whose rows are not a whole number of blocks.

    >>> tensors = {"x": np.ones(4, np.float32)}  # doctest: +SKIP
    >>> write_gguf("tiny.gguf", {"general.architecture": "llama"}, tensors)  # doctest: +SKIP
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    data = {name: TensorData.of(tensor) for name, tensor in (tensors or {}).items()}
    layout = plan(metadata, data, alignment=alignment)
    check_space(path, layout.size)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # Exclusive creation: on an error only a file that this call created is removed.
        file = temporary.open("xb")
        try:
            with file:
                _write(file, layout, data)
            if check is not None:
                check(temporary)
            if overwrite:
                _take_over(path, temporary)
                temporary.replace(path)
            else:
                _create(path, temporary)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FormatError(f"{path}: cannot be written: {error.strerror or error}") from None


def _take_over(path: Path, temporary: Path) -> None:
    """Gives the new file the permissions of an existing one, and its owner if the process may."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if hasattr(os, "chown"):
        with suppress(PermissionError):
            os.chown(temporary, found.st_uid, found.st_gid)
    temporary.chmod(stat.S_IMODE(found.st_mode))


def _create(path: Path, temporary: Path) -> None:
    """Names the new file `path`, unless there is one of that name."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FormatError(f"{path}: exists already: remove it, or choose another name") from None
    except OSError:  # a file system without links
        if path.exists():
            raise FormatError(f"{path}: exists already: remove it, or choose another name") from None
        temporary.replace(path)
        return
    temporary.unlink()


def check_space(path: Path, needed: int) -> None:
    """Raises `FormatError` if the disk of a file to be written has less free than `needed` bytes."""
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise FormatError(f"{path}: cannot be written: {error.strerror or error}") from None
    if needed > free:
        raise FormatError(f"{path}: takes {needed:,} bytes, and {free:,} are free in {path.parent}")


def plan(
    metadata: Mapping[str, Any], tensors: Mapping[str, TensorData], *, alignment: int | None = None
) -> Plan:
    """Returns the layout of a file that `write_gguf` would write. Raises the same errors."""
    metadata, alignment = _with_alignment(metadata, alignment)
    if len(metadata) > limits.KEYS or len(tensors) > limits.TENSORS:
        raise FormatError(
            f"{len(metadata)} metadata keys and {len(tensors)} tensors were given; at most {limits.KEYS} and "
            f"{limits.TENSORS} can be written"
        )
    parts = [_HEADER.pack(MAGIC, 3, len(tensors), len(metadata)), encode_metadata(metadata)]
    offsets: dict[str, int] = {}
    offset = 0
    for name, tensor in tensors.items():
        tensor.check(name)
        offsets[name] = offset
        parts += [
            encode_name(name, "the name of a tensor"),
            _U32.pack(len(tensor.shape)),
            *(_U64.pack(size) for size in reversed(tensor.shape)),
            _U32.pack(TYPE_IDS[tensor.dtype.name]),
            _U64.pack(offset),
        ]
        offset += _padded(tensor.dtype.nbytes(tensor.shape), alignment)
    header = b"".join(parts)
    if len(header) > limits.HEADER_BYTES:
        raise FormatError(f"the header takes {len(header)} bytes; at most {limits.HEADER_BYTES} can be read")
    if tensors:
        header = header.ljust(_padded(len(header), alignment), b"\0")
    return Plan(
        header, {name: len(header) + offset for name, offset in offsets.items()}, len(header) + offset
    )


def _with_alignment(metadata: Mapping[str, Any], alignment: int | None) -> tuple[Mapping[str, Any], int]:
    stored = metadata.get("general.alignment", ALIGNMENT)
    if isinstance(stored, Typed):
        stored = stored.value
    chosen = stored if alignment is None else alignment
    if isinstance(chosen, bool) or not isinstance(chosen, int) or not limits.is_alignment(chosen):
        raise FormatError(
            f"the alignment is {chosen!r}, but must be a power of two within "
            f"{limits.ALIGNMENT_MINIMUM}..{limits.ALIGNMENT_MAXIMUM}"
        )
    if chosen == ALIGNMENT and "general.alignment" not in metadata:
        return metadata, chosen
    items = metadata.typed() if isinstance(metadata, Metadata) else metadata
    return {**items, "general.alignment": Typed(ValueType.UINT32, chosen)}, chosen


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _write(file: IO[bytes], layout: Plan, tensors: Mapping[str, TensorData]) -> None:
    file.write(layout.header)
    position = len(layout.header)
    for name, tensor in tensors.items():
        file.write(bytes(layout.positions[name] - position))
        expected = tensor.dtype.nbytes(tensor.shape)
        written = 0
        for chunk in tensor.chunks():
            written += chunk.nbytes
            if written <= expected:
                file.write(chunk.data)
        if written != expected:
            raise FormatError(f"tensor {quote(name)} takes {expected} bytes, but {written} were given")
        position = layout.positions[name] + written
    file.write(bytes(layout.size - position))
