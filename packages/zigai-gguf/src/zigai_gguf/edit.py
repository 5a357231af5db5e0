"""Changes files: splits a model into several, merges it, and sets or removes metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import FormatError, quote
from zigai_gguf import limits
from zigai_gguf.fitness import check_fitness
from zigai_gguf.known_keys import architectures_of, check_present, did_you_mean, known, meant_by
from zigai_gguf.metadata import Metadata
from zigai_gguf.parts import COUNT, NUMBER, TENSORS, open_model
from zigai_gguf.reader import GGUFFile
from zigai_gguf.tensor_data import TensorData
from zigai_gguf.values import Typed, ValueType
from zigai_gguf.writer import check_space, write_gguf

Progress = Callable[[int, int], None]
"""Called with (bytes of tensors written, in all)."""


def split(
    path: Path | str,
    prefix: Path | str,
    *,
    max_bytes: int | None = None,
    max_tensors: int | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes a model as `PREFIX-00001-of-0000N.gguf`, …; returns the paths.

    The tensors stay in order. A part has at most `max_bytes` bytes of tensors, or one tensor that is larger,
    and at most `max_tensors` tensors.

    Raises `FormatError` if the model fits in one part, if it would have more than `limits.PARTS`, and if a
    file exists or cannot be written; then no part is left.
    """
    path, prefix = Path(path), Path(prefix)
    file = open_model(path)
    shares = _shares(file.tensors, max_bytes, max_tensors)
    if len(shares) < 2:
        raise FormatError(
            f"{path}: its {len(file.tensors)} tensors of {_total(file.tensors)} bytes fit in one part: "
            "choose smaller parts"
        )
    if len(shares) > limits.PARTS:
        raise FormatError(
            f"{path}: {len(shares)} parts, of which at most {limits.PARTS} can be read: choose larger ones"
        )
    paths = [
        prefix.with_name(f"{prefix.name}-{number:05}-of-{len(shares):05}.gguf")
        for number in range(1, len(shares) + 1)
    ]
    for each in paths:
        if each.exists():
            raise FormatError(f"{each}: exists already: remove it, or choose another name")
    check_space(prefix, _total(file.tensors))
    counted = _Counted(_total(file.tensors), progress)
    written: list[Path] = []
    try:
        for number, (each, names) in enumerate(zip(paths, shares, strict=True)):
            own = {
                NUMBER: Typed(ValueType.UINT16, number),
                COUNT: Typed(ValueType.UINT16, len(shares)),
                TENSORS: Typed(ValueType.INT32, len(file.tensors)),
            }
            metadata = {**(file.metadata.typed() if number == 0 else {}), **own}
            tensors = {name: counted.of(file.tensors[name]) for name in names}
            write_gguf(each, metadata, tensors, alignment=file.alignment)
            written.append(each)
    except BaseException:
        for each in written:
            each.unlink(missing_ok=True)
        raise
    return paths


def merge(path: Path | str, out: Path | str, *, progress: Progress | None = None) -> None:
    """Writes the model of which `path` is a part as one new file.

    Raises `FormatError` if the model is in one file already, or `out` exists.
    """
    path = Path(path)
    file = open_model(path)
    if not file.parts:
        raise FormatError(f"{path}: the model is in one file, so there is nothing to merge")
    counted = _Counted(_total(file.tensors), progress)
    tensors = {name: counted.of(tensor) for name, tensor in file.tensors.items()}
    write_gguf(out, file.metadata.typed(), tensors, alignment=file.alignment, overwrite=False)


def set_metadata(
    path: Path | str,
    values: Mapping[str, Any],
    out: Path | str,
    *,
    new: bool = False,
    progress: Progress | None = None,
    plugins: Plugins | None = None,
    force: bool = False,
) -> None:
    """Writes a model with other metadata: new keys, and other values of keys that it has.

    A plain value of a key that the file has keeps the type of the file; `write_gguf` tells the types of
    others. A `Typed` value has its own. `out` may be `path`, but no other file that exists.

    Raises `FormatError` for a value that the type cannot store; unless `force`, for values with which a model
    that opens would not open any more, or one whose graph is built by an architecture of `plugins` (by
    default of those installed) would not be built any more; and, unless `new`, for an unknown key that is
    like a key of the file or a known one (`known_keys.KNOWN`). The checks come before anything is written.
    """
    path, out = Path(path), Path(out)
    file = open_model(path)
    metadata: dict[str, Any] = dict(file.metadata.typed())
    if not new:
        _check_meant(path, values, file.metadata)
    for key, value in values.items():
        keeps = key in metadata and not isinstance(value, Typed)
        metadata[key] = Typed(metadata[key].type, value) if keeps else value
    _write(path, file, metadata, out, progress, plugins, force)


def remove_metadata(
    path: Path | str,
    keys: Iterable[str],
    out: Path | str,
    *,
    progress: Progress | None = None,
    plugins: Plugins | None = None,
    force: bool = False,
) -> None:
    """Writes a model without some keys; otherwise as `set_metadata`.

    Raises `FormatError` for a key that is absent, or, unless `force`, without which the model would not open
    or its graph not be built any more.
    """
    path, out = Path(path), Path(out)
    file = open_model(path)
    metadata, keys = file.metadata.typed(), list(dict.fromkeys(keys))
    check_present(path, keys, file.metadata)
    for key in keys:
        del metadata[key]
    _write(path, file, metadata, out, progress, plugins, force)


def _check_meant(path: Path, values: Mapping[str, Any], metadata: Metadata) -> None:
    """Raises `FormatError` for a key that is neither the file's nor known, but like one that is."""
    architectures = list(dict.fromkeys([*architectures_of(values), *architectures_of(metadata)]))
    among = [*metadata, *known(architectures)]
    for key in values:
        near = meant_by(key, among, architectures)
        if near:
            raise FormatError(
                f"{path}: has no metadata {quote(key)}, and no such key is known{did_you_mean(near)} "
                "--new (new=True) adds it all the same"
            )


def _write(
    path: Path,
    file: GGUFFile,
    metadata: Mapping[str, Any],
    out: Path,
    progress: Progress | None,
    plugins: Plugins | None,
    force: bool,
) -> None:
    if not force:
        check_fitness(path, file, metadata, plugins or Plugins.installed())
    counted = _Counted(_total(file.tensors), progress)
    tensors = {name: counted.of(tensor) for name, tensor in file.tensors.items()}
    write_gguf(out, metadata, tensors, overwrite=out.exists() and out.samefile(path))


class _Counted:
    """Makes tensors for writing that report progress, and free the memory of what was written."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0

    def of(self, tensor: TensorInfo) -> TensorData:
        data = TensorData.of(tensor)
        return replace(data, chunks=lambda: self._chunks(data, tensor))

    def _chunks(self, data: TensorData, tensor: TensorInfo) -> Iterator[NDArray[np.uint8]]:
        for chunk in data.chunks():
            for start in range(0, chunk.size, _CHUNK):
                piece = chunk[start : start + _CHUNK]
                yield piece
                self._done += piece.nbytes
                if self._progress is not None:
                    self._progress(self._done, self._total)
        if tensor.release is not None:
            tensor.release()


_CHUNK = 16 << 20
"""Bytes written at a time."""


def _shares(
    tensors: Mapping[str, TensorInfo], max_bytes: int | None, max_tensors: int | None
) -> list[Sequence[str]]:
    shares: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        full = max_bytes is not None and size + tensor.nbytes > max_bytes
        if shares[-1] and (full or len(shares[-1]) == max_tensors):
            shares.append([])
            size = 0
        shares[-1].append(name)
        size += tensor.nbytes
    return [*shares]


def _total(tensors: Mapping[str, TensorInfo]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())
