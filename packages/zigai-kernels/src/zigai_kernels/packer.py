"""`Packer`: copies weights into the layouts that the kernels read."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import ComputedTensor, TensorInfo
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_kernels.packed_file import Bytes, PackedFile, UnwritableError
from zigai_kernels.packed_folder import PackedFolder, folder_limit
from zigai_kernels.packing import (
    AS_STORED,
    FLOAT_PANELS,
    FLOATS,
    PANEL_ROWS,
    Packing,
    check_size,
    contiguous,
    stored_bytes,
)
from zigai_kernels.storage import CODES

LAYOUT = 3
"""Version of the layout in panels.c; files of packed weights of another version are not used."""

PIECE_BYTES = 1 << 20
"""Approximate number of bytes that a thread packs at a time."""

CHECKED_BLOCKS = 16
"""Number of blocks whose checksums a thread computes at a time."""


class Packer:
    """Packs weights one tensor after another, each with all threads.

    After a tensor is copied, its pages of the mapped file are released (`TensorInfo.release`), so that at
    most one tensor is in memory twice. With a `folder` the panels are written to a file there, and later
    mapped from it.
    """

    def __init__(self, ffi: Any, lib: Any, threads: int, folder: Path | None = None) -> None:
        self._ffi = ffi
        self._lib = lib
        self._threads = threads
        lib.zg_guard()
        self._folder = None if folder is None else PackedFolder(folder, folder_limit())

    def stride(self, packing: Packing) -> int:
        """Bytes from one row or panel to the next."""
        storage, width = packing.storage, packing.tensor.shape[-1]
        if packing.in_panels:
            return int(self._lib.zg_panel_bytes(CODES[storage.name], width))
        return width // storage.block_size * storage.block_bytes

    def pack(
        self, packings: Mapping[str, tuple[Packing, ...]], done: Callable[[int], None]
    ) -> dict[Packing, NDArray[Any]]:
        """The bytes of each packing. Calls `done` with the stored bytes of each tensor that is finished.

        `ShapeError` for wrong bytes, `UnsupportedError` if the file in the folder cannot be written.
        """
        uses = [packing for of_tensor in packings.values() for packing in of_tensor]
        panels = [packing for packing in uses if packing.in_panels]
        ends = list(accumulate(map(self._nbytes, panels), initial=0))
        places = {packing: slice(*bounds) for packing, bounds in zip(panels, pairwise(ends), strict=True)}

        rows: dict[Packing, NDArray[np.uint8]] = {}

        def fill(memory: NDArray[np.uint8]) -> None:
            with ThreadPoolExecutor(self._threads) as pool:
                for of_tensor in packings.values():
                    for packing in of_tensor:
                        if packing.form == AS_STORED:  # before its bytes are released
                            rows[packing] = stored_bytes(packing.tensor)
                    for packing in of_tensor:
                        if packing in places:
                            self._fill(packing, memory[places[packing]], pool)
                    _release_sources(of_tensor[0].tensor)
                    done(of_tensor[0].tensor.nbytes)

        if self._folder is None or not panels:
            memory = _aligned(ends[-1])
            fill(memory)
        else:
            file = PackedFile(self._folder, _contents(places), ends[-1], self.checksums)
            found = self._found(file, places)
            if found is None:
                memory = self._written(file, fill, ends[-1])
            else:
                memory = found
                done(sum(of_tensor[0].tensor.nbytes for of_tensor in packings.values()))
        packed: dict[Packing, NDArray[Any]] = {}
        for packing in uses:
            if packing in places:
                packed[packing] = memory[places[packing]]
            elif packing.form == FLOATS:
                packed[packing] = np.ascontiguousarray(packing.tensor.to_float32(), dtype=np.float32)
                if packing.tensor.release is not None:
                    packing.tensor.release()
            else:
                packed[packing] = rows[packing] if packing in rows else stored_bytes(packing.tensor)
                _release_sources(packing.tensor)
        return packed

    def checksums(self, data: NDArray[np.uint8], block: int) -> NDArray[np.uint64]:
        """The checksums (checksum.c) of blocks of `block` bytes of `data`; the last block may be shorter."""
        count, nbytes, from_buffer = -(-data.nbytes // block), data.nbytes, self._ffi.from_buffer
        sums = np.zeros(count, np.uint64)
        target = self._ffi.cast("uint64_t *", from_buffer(sums))

        def work(first: int) -> None:
            end = min(first + CHECKED_BLOCKS, count)
            self._lib.zg_checksums(from_buffer(data), nbytes, block, first, end, target)

        with ThreadPoolExecutor(self._threads) as pool:
            for _ in pool.map(work, range(0, count, CHECKED_BLOCKS)):
                pass
        self._lib.zg_torn()  # a file of panels that is cut short has other checksums
        return sums

    @staticmethod
    def _written(file: PackedFile, fill: Callable[[Bytes], None], nbytes: int) -> Bytes:
        """The panels in a file, or in memory, with a warning, if the file cannot be written."""
        try:
            return file.written(fill)
        except UnwritableError as error:
            logging.getLogger("zigai").warning("%s; the weights stay in memory", error)
        memory = _aligned(nbytes)
        fill(memory)
        return memory

    def _found(self, file: PackedFile, places: Mapping[Packing, slice]) -> NDArray[np.uint8] | None:
        """The panels of an existing file that agrees with the tensors, else None."""
        memory = file.open()
        if memory is not None:
            for packing, place in places.items():
                if not self._agrees(packing, memory[place]):
                    file.refuse(f"its {packing.tensor.name} differs from the model's file")
                    return None
                if packing.tensor.release is not None:
                    packing.tensor.release()
        return memory

    def _agrees(self, packing: Packing, part: NDArray[np.uint8]) -> bool:
        """True if the first and the last panel equal the packed rows of the tensor."""
        tensor = packing.tensor
        *stack, rows, _ = tensor.shape
        stride, end = self.stride(packing), rows * math.prod(stack)
        last = (rows - 1) % PANEL_ROWS + 1  # rows of a matrix's last panel
        check_size(tensor)
        for first, count, found in (
            (0, min(rows, PANEL_ROWS), part[:stride]),
            (end - last, last, part[-stride:]),
        ):
            expected = np.zeros(stride, np.uint8)
            self._write(packing, first, count, expected)
            if not np.array_equal(expected, found):
                return False
        return True

    def _nbytes(self, packing: Packing) -> int:
        """Bytes of a matrix, or a stack of matrices, in panels: a multiple of 64."""
        *stack, rows, _ = packing.tensor.shape
        return math.prod(stack) * -(-rows // PANEL_ROWS) * self.stride(packing)

    def _fill(self, packing: Packing, target: NDArray[np.uint8], pool: ThreadPoolExecutor) -> None:
        tensor = packing.tensor
        *stack, rows, _ = tensor.shape
        check_size(tensor)
        panels, stride = -(-rows // PANEL_ROWS), self.stride(packing)
        piece = max(1, PIECE_BYTES // stride)

        def pieces() -> Iterator[tuple[int, range]]:
            for matrix in range(math.prod(stack)):
                for first in range(0, panels, piece):
                    yield matrix, range(first, min(first + piece, panels))

        def work(place: tuple[int, range]) -> None:
            matrix, some = place
            first = some.start * PANEL_ROWS
            count = min(some.stop * PANEL_ROWS, rows) - first
            self._write(
                packing, matrix * rows + first, count, target[(matrix * panels + some.start) * stride :]
            )

        for _ in pool.map(work, pieces()):
            pass
        if tensor.release is not None:
            tensor.release()

    def _write(self, packing: Packing, first: int, count: int, target: NDArray[np.uint8]) -> None:
        """Write the panels of `count` rows from `first` on, which are in one matrix."""
        tensor, code, from_buffer = packing.tensor, CODES[packing.storage.name], self._ffi.from_buffer
        width = tensor.shape[-1]
        if packing.form == FLOAT_PANELS:
            values = tensor.dtype.to_float32(tensor.copy_rows(first, first + count), (count, width))
            source = values.reshape(-1).view(np.uint8)
        else:
            tensor.check_file()
            source = contiguous(tensor, tensor.row_data(first, first + count))
        self._lib.zg_pack(code, from_buffer(source), count, width, from_buffer(target))
        if self._lib.zg_torn():
            refuse_torn((tensor,))


def _release_sources(tensor: TensorInfo) -> None:
    """Release what a tensor was computed from. The bytes of a mapped one itself are still read."""
    if isinstance(tensor, ComputedTensor) and tensor.release is not None:
        tensor.release()


def refuse_torn(tensors: Iterable[TensorInfo]) -> NoReturn:
    """Raises `FormatError`: reading past the end of a mapped file, of weights or panels, gave zeros."""
    for tensor in tensors:
        tensor.check_file()
    raise FormatError(
        "a mapped file of weights was cut short while it was read, and the results are discarded; load the "
        "model again"
    )


def _contents(places: Mapping[Packing, slice]) -> str:
    """The contents of a file of these panels. `UnsupportedError` for a tensor without an identity."""
    lines = [f"layout {LAYOUT}"]
    for packing, place in places.items():
        tensor = packing.tensor
        if tensor.identity is None:
            raise UnsupportedError(
                f"packed_cache: {tensor.name} has no identity by which a later start could find its panels; "
                "load without packed_cache"
            )
        lines.append(f"{place.start} {place.stop} {tensor.dtype.name} {tensor.shape} {tensor.identity!r}")
    return "\n".join(lines)


def _aligned(nbytes: int) -> NDArray[np.uint8]:
    """Uninitialised bytes, aligned to 64. For large arrays, numpy requests huge pages."""
    memory = np.empty(nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + nbytes]
