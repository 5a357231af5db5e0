"""Packing: the layout of weights in memory for the kernels that read them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError
from zigai_kernels.packed_file import Bytes, PackedFile
from zigai_kernels.packed_folder import PackedFolder, folder_limit

AS_STORED = "as in the file"
PANELS = "panels of 16 rows"
FIXED_PANELS = "int16 panels of 16 rows"
FLOATS = "converted to F32"

PANEL_ROWS = 16
"""Rows of a panel: `PANEL` in panels.c."""

LAYOUT = 3
"""Version of the layout in panels.c; files of packed weights of another version are not used."""

PIECE_BYTES = 1 << 20
"""Approximate number of bytes that a thread packs at a time."""

CHECKED_BLOCKS = 16
"""Number of blocks whose checksums a thread computes at a time."""


@dataclass(frozen=True)
class Storage:
    """A storage type that the kernels read. Its index in `STORAGE` is its number in C (`enum zg_type`)."""

    name: str
    block_size: int
    block_bytes: int
    activations: str
    """The type of activations in its dot products: `F32`, or rounded to `INT8` or `INT16`."""


STORAGE = {
    storage.name: storage
    for storage in (
        Storage("F32", 1, 4, "F32"),
        Storage("F16", 1, 2, "INT16"),
        Storage("BF16", 1, 2, "INT16"),
        Storage("Q4_0", 32, 18, "INT8"),
        Storage("Q4_1", 32, 20, "INT8"),
        Storage("Q5_0", 32, 22, "INT8"),
        Storage("Q5_1", 32, 24, "INT8"),
        Storage("Q8_0", 32, 34, "INT8"),
        Storage("Q2_K", 256, 84, "INT8"),
        Storage("Q3_K", 256, 110, "INT8"),
        Storage("Q4_K", 256, 144, "INT8"),
        Storage("Q5_K", 256, 176, "INT8"),
        Storage("Q6_K", 256, 210, "INT8"),
        Storage("IQ4_NL", 32, 18, "INT8"),
        Storage("IQ4_XS", 256, 136, "INT8"),
        Storage("MXFP4", 32, 17, "INT8"),
        Storage("NVFP4", 64, 36, "INT8"),
        Storage("Q1_0", 128, 18, "INT8"),
        Storage("Q2_0", 64, 18, "INT8"),
        Storage("TQ1_0", 256, 54, "INT8"),
        Storage("TQ2_0", 256, 66, "INT8"),
        Storage("IQ1_S", 256, 50, "INT8"),
        Storage("IQ1_M", 256, 56, "INT8"),
        Storage("IQ2_XXS", 256, 66, "INT8"),
        Storage("IQ2_XS", 256, 74, "INT8"),
        Storage("IQ2_S", 256, 82, "INT8"),
        Storage("IQ3_XXS", 256, 98, "INT8"),
        Storage("IQ3_S", 256, 110, "INT8"),
        Storage("Q8_1", 32, 36, "INT8"),
        Storage("Q8_K", 256, 292, "INT8"),
    )
}
CODES = {name: code for code, name in enumerate(STORAGE)}


@dataclass(frozen=True, eq=False)
class Packing:
    """The layout of a tensor for a kernel, chosen by lowering and carried out by `Packer`."""

    tensor: TensorInfo
    kernel: str
    form: str
    """`AS_STORED`, `PANELS`, `FIXED_PANELS` or `FLOATS`."""

    @property
    def in_panels(self) -> bool:
        """True if the tensor is copied into panels."""
        return self.form in (PANELS, FIXED_PANELS)


def storage_of(tensor: TensorInfo) -> Storage | None:
    """The `Storage` of a tensor; None if the kernels do not read its type, or one of that name differs."""
    storage, dtype = STORAGE.get(tensor.dtype.name), tensor.dtype
    if storage and (storage.block_size, storage.block_bytes) == (dtype.block_size, dtype.block_bytes):
        return storage
    return None


def pack_rows(tensor: TensorInfo) -> Packing:
    """The packing of a matrix whose rows are looked up: the mapped file itself."""
    return Packing(tensor, f"embedding_{tensor.dtype.name.lower()}", AS_STORED)


def pack_panels(tensor: TensorInfo, kernel: str) -> Packing:
    """The packing of a matrix, or a stack of matrices, for products: panels of 16 rows (panels.c)."""
    form = FIXED_PANELS if STORAGE[tensor.dtype.name].activations == "INT16" else PANELS
    return Packing(tensor, f"{kernel}_{tensor.dtype.name.lower()}", form)


def pack_vector(tensor: TensorInfo, kernel: str) -> Packing:
    """The packing of a norm's weight or a bias: float32, a view of the file if it is stored so.

    `ShapeError` for wrong bytes.
    """
    data = _stored(tensor)
    plain = tensor.dtype.name == "F32" and np.shares_memory(tensor.to_float32(), data)
    return Packing(tensor, kernel, AS_STORED if plain else FLOATS)


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
        tensor = packing.tensor
        if packing.in_panels:
            return int(self._lib.zg_panel_bytes(CODES[tensor.dtype.name], tensor.shape[-1]))
        return tensor.dtype.nbytes(tensor.shape[-1:])

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
                            rows[packing] = _stored(packing.tensor)
                    for packing in of_tensor:
                        if packing in places:
                            self._fill(packing, memory[places[packing]], pool)
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
            else:
                packed[packing] = rows[packing] if packing in rows else _stored(packing.tensor)
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
        except UnsupportedError as error:
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
        stride, end = self.stride(packing), rows * int(np.prod(stack, dtype=np.int64))
        last = (rows - 1) // PANEL_ROWS * PANEL_ROWS  # the first row of a matrix's last panel
        tensor.check_file()
        for start, stop, found in (
            (0, min(rows, PANEL_ROWS), part[:stride]),
            (end - (rows - last), end, part[-stride:]),
        ):
            source, count = tensor.row_data(start, stop), stop - start
            expected = np.zeros(stride, np.uint8)
            self._write(tensor, source, count, expected, range(1))
            if not np.array_equal(expected, found):
                return False
        return True

    def _nbytes(self, packing: Packing) -> int:
        """Bytes of a matrix, or a stack of matrices, in panels: a multiple of 64."""
        *stack, rows, _ = packing.tensor.shape
        return int(np.prod(stack, dtype=np.int64)) * -(-rows // PANEL_ROWS) * self.stride(packing)

    def _fill(self, packing: Packing, target: NDArray[np.uint8], pool: ThreadPoolExecutor) -> None:
        tensor = packing.tensor
        *stack, rows, _ = tensor.shape
        matrices = int(np.prod(stack, dtype=np.int64))
        panels, stride = -(-rows // PANEL_ROWS), self.stride(packing)
        source_bytes, target_bytes = tensor.nbytes // max(matrices, 1), panels * stride
        piece = max(1, PIECE_BYTES // stride)
        stored = _stored(tensor)

        def pieces() -> Iterator[tuple[int, range]]:
            for matrix in range(matrices):
                for first in range(0, panels, piece):
                    yield matrix, range(first, min(first + piece, panels))

        def work(place: tuple[int, range]) -> None:
            matrix, some = place
            source, out = stored[matrix * source_bytes :], target[matrix * target_bytes :]
            self._write(tensor, source, rows, out, some)

        for _ in pool.map(work, pieces()):
            pass
        if tensor.release is not None:
            tensor.release()

    def _write(
        self,
        tensor: TensorInfo,
        source: NDArray[np.uint8],
        rows: int,
        target: NDArray[np.uint8],
        panels: range,
    ) -> None:
        """Write some panels of a matrix of the tensor's type, whose first of `rows` rows is at `source`."""
        code, from_buffer = CODES[tensor.dtype.name], self._ffi.from_buffer
        width = tensor.shape[-1]
        self._lib.zg_pack(
            code, from_buffer(source), rows, width, from_buffer(target), panels.start, panels.stop
        )
        if self._lib.zg_torn():
            refuse_torn((tensor,))


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


def _stored(tensor: TensorInfo) -> NDArray[np.uint8]:
    """The tensor's bytes. `ShapeError` for wrong ones, `FormatError` if the file has been cut short."""
    tensor.check_file()
    data, expected = tensor.data, tensor.dtype.nbytes(tensor.shape)
    if data.dtype != np.uint8 or data.ndim != 1 or not data.flags.c_contiguous or data.nbytes != expected:
        raise ShapeError(
            f"{tensor.name}: {tensor.dtype.name} of shape {tensor.shape} takes {expected} contiguous bytes, "
            f"not {data.nbytes} of {data.dtype} {data.shape}"
        )
    return data
