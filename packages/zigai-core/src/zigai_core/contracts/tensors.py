"""Tensors as a format reader finds them, `TensorInfo`, and tensors made of others, `ComputedTensor`."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.dtypes import DType
from zigai_core.contracts.errors import ShapeError, escape, quote


@dataclass(frozen=True, eq=False, repr=False)
class TensorInfo:
    """A named tensor: its shape, its storage type and a view of its bytes.

    `shape` is in numpy's order: a linear layer's weight is `(outputs, inputs)`. Blocks of a quantised type
    run along the last axis. `data` is a read-only, one-dimensional uint8 view of exactly
    `dtype.nbytes(shape)` bytes, mapped from the file without a copy. The format reader has checked it against
    the file's size.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    data: NDArray[np.uint8]
    release: Callable[[], None] | None = None
    """Frees the memory that holds the mapped bytes of `data`; to be called once they are unlikely to be read
    again. Reading them later still works. None if there is nothing to free."""
    identity: str | None = None
    """Identifies the bytes without reading them: the file, its size and times, and the offset in it. Packed
    weights that are kept between runs are found by it. None if the bytes cannot be identified."""
    check: Callable[[], None] | None = None
    """Raises `FormatError` if the file that `data` is mapped from has been cut short since; to be called
    before `data` is read. None for bytes in memory."""
    read: Callable[[int, int], NDArray[np.uint8]] | None = None
    """`read(first, nbytes)` copies bytes of `data` from the file without touching the mapping: raises
    `FormatError` if the file has been cut short, where reading `data` would end the process. None for bytes
    in memory."""

    @property
    def nbytes(self) -> int:
        """Size of the stored tensor in bytes."""
        return int(self.data.nbytes)

    def __repr__(self) -> str:
        """On one line, without the bytes."""
        return f"TensorInfo({quote(self.name)}, {self.shape}, {self.dtype.name}, {self.nbytes:,} bytes)"

    def reshaped(self, shape: tuple[int, ...]) -> TensorInfo:
        """Returns the same bytes under `shape`. Raises `ShapeError` unless only leading ones differ."""
        if self.shape == shape:
            return self
        if without_leading_ones(self.shape) != without_leading_ones(shape):
            raise ShapeError(f"tensor {escape(self.name)} has shape {self.shape}, but {shape} is needed")
        return self.changed(shape=shape)

    def changed(self, **values: Any) -> TensorInfo:
        """Returns a tensor of the same bytes with another `name`, `shape` or `dtype`."""
        return replace(self, **values)

    def to_float32(self) -> NDArray[np.float32]:
        """Returns the dequantised values: float32 of shape `shape`. A copy, except for aligned F32.

        Raises `FormatError` if the file has been cut short.
        """
        if self.read is None or self.dtype.name == "F32":
            self.check_file()
            return self.dtype.to_float32(self.data, self.shape)
        return self.dtype.to_float32(self.read(0, self.dtype.nbytes(self.shape)), self.shape)

    def check_file(self) -> None:
        """Calls `check` if there is one."""
        if self.check is not None:
            self.check()

    def row_data(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Returns the bytes of rows `start` to `stop` of the tensor reshaped to `[-1, shape[-1]]`."""
        nbytes = self.dtype.nbytes(self.shape[-1:])
        return self.data[start * nbytes : stop * nbytes]

    def copy_rows(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Returns the same as `row_data`, from a mapped file a copy.

        Raises `FormatError` if the file has been cut short, whenever that happens.
        """
        if self.read is None:
            self.check_file()
            return self.row_data(start, stop)
        nbytes = self.dtype.nbytes(self.shape[-1:])
        return self.read(start * nbytes, (stop - start) * nbytes)

    def rows_to_float32(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Returns some rows, dequantised: float32 `[len(rows), shape[-1]]`.

        `rows` are indices into the tensor reshaped to `[-1, shape[-1]]`. Raises `FormatError` if the file has
        been cut short.
        """
        width = self.shape[-1]
        nbytes, count = self.dtype.nbytes((width,)), math.prod(self.shape[:-1])
        if len(rows) and not 0 <= rows.min() <= rows.max() < count:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {count} rows")
        if self.read is None:
            self.check_file()
            stored = self.data.reshape(-1, nbytes)[rows].reshape(-1)
        else:
            found = [self.read(int(row) * nbytes, nbytes) for row in rows]
            stored = np.concatenate(found) if found else np.empty(0, np.uint8)
        return self.dtype.to_float32(stored, (len(rows), width))


class ComputedTensor(TensorInfo):
    """A tensor whose bytes are computed from those of other tensors: joined, unpacked or encoded.

    `data` is computed when it is first asked for and kept until `release` is called; asked for after that,
    it is computed again.
    """

    sources: tuple[TensorInfo, ...]
    _compute: Callable[[int, int], NDArray[np.uint8]]
    _kept: list[NDArray[np.uint8]]
    _lock: Lock

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: DType,
        sources: Sequence[TensorInfo],
        compute: Callable[[int, int], NDArray[np.uint8]],
        how: str,
    ) -> None:
        """`compute(start, stop)` returns the bytes of some rows of the tensor reshaped to `[-1, shape[-1]]`.

        `how` says in a few words what is computed, and is a part of `identity`: of one set of sources, two
        computations with the same `how` must give the same bytes.
        """
        identities = [source.identity for source in sources]
        values = {
            "name": name,
            "shape": shape,
            "dtype": dtype,
            "release": self._release,
            "identity": None if None in identities else f"{how} ({' + '.join(map(str, identities))})",
            "check": self._check,
            "sources": tuple(sources),
            "_compute": compute,
            "_kept": [],
            "_lock": Lock(),
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)

    @property
    def data(self) -> NDArray[np.uint8]:
        """The bytes. Raises what the computation raises, and `ShapeError` if it gives another size."""
        with self._lock:  # threads that ask at once wait for one computation
            if not self._kept:
                self._kept.append(self.row_data(0, math.prod(self.shape[:-1])))
            return self._kept[0]

    def row_data(self, start: int, stop: int) -> NDArray[np.uint8]:
        """The bytes of some rows, as in `TensorInfo`, computed for this call unless all are kept."""
        kept = self._kept[:]
        if kept:
            nbytes = self.dtype.nbytes(self.shape[-1:])
            return kept[0][start * nbytes : stop * nbytes]
        self._check()
        computed = self._compute(start, stop)
        expected = (stop - start) * self.dtype.nbytes(self.shape[-1:])
        if computed.nbytes != expected:
            raise ShapeError(
                f"tensor {escape(self.name)}: {stop - start} rows take {expected} bytes, but "
                f"{computed.nbytes} were computed"
            )
        return computed

    @property
    def nbytes(self) -> int:
        """Size of the tensor in bytes."""
        return self.dtype.nbytes(self.shape)

    def changed(self, **values: Any) -> TensorInfo:
        """Returns a tensor of the same bytes with another `name`, `shape` or `dtype`."""
        other = copy.copy(self)
        for key, value in values.items():
            object.__setattr__(other, key, value)
        return other

    def __repr__(self) -> str:
        """Without the bytes, which would be computed."""
        return f"{type(self).__name__}({self.name!r}, {self.shape}, {self.dtype.name}, {self.identity!r})"

    def _check(self) -> None:
        for source in self.sources:
            source.check_file()

    def _release(self) -> None:
        self._kept.clear()
        for source in self.sources:
            if source.release is not None:
                source.release()


def kept_copy(tensor: TensorInfo) -> ComputedTensor:
    """Returns the tensor with a `data` in memory, copied when it is asked for, and kept until its release."""
    return ComputedTensor(tensor.name, tensor.shape, tensor.dtype, [tensor], tensor.copy_rows, "a copy")


class JoinedTensor(ComputedTensor):
    """A stack of tensors that lie apart in files, such as the experts of a layer."""

    def __init__(self, name: str, parts: Sequence[TensorInfo]) -> None:
        """`parts` are of one shape and type, else `ShapeError`; the stack has one more dimension."""
        first = parts[0]
        for part in parts:
            if (part.shape, part.dtype) != (first.shape, first.dtype):
                raise ShapeError(
                    f"tensor {escape(part.name)} is {part.dtype.name} of shape {part.shape}, but "
                    f"{escape(first.name)}, with which it is joined, {first.dtype.name} of {first.shape}"
                )

        rows = math.prod(first.shape[:-1])

        def join(start: int, stop: int) -> NDArray[np.uint8]:
            pieces = [
                parts[number].copy_rows(max(start - number * rows, 0), min(stop - number * rows, rows))
                for number in range(start // rows, -(-stop // rows))
            ]
            return np.concatenate(pieces) if pieces else np.empty(0, np.uint8)

        super().__init__(name, (len(parts), *first.shape), first.dtype, parts, join, "joined")


def without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns `shape` without its leading ones, except that the last dimension is always kept.

    >>> without_leading_ones((1, 1, 64)), without_leading_ones((1,))
    ((64,), (1,))
    """
    first = next((i for i, size in enumerate(shape) if size != 1), len(shape) - 1)
    return shape[max(first, 0) :]
