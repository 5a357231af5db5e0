"""Encodes weights in other storage types, with the fastest backend that can."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from zigai_core.api.backends import make_backend
from zigai_core.api.calling import call
from zigai_core.api.installed import report
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES, DType
from zigai_core.contracts.dtypes.quantize import unstorable
from zigai_core.contracts.errors import FormatError, PluginError, ShapeError, UnsupportedError, quote
from zigai_core.contracts.plugins import ENCODED_FROM, QuantizingBackend


@dataclass(frozen=True)
class Encoder:
    """Encodes tensors as `dtype`, with a backend or, if that is None, with `DType.from_float32`.

    Threads may share it. A call uses one thread, so callers split rows over threads.
    """

    dtype: DType
    backend: QuantizingBackend | None

    def rows(self, tensor: TensorInfo, start: int, stop: int) -> NDArray[np.uint8]:
        """Encodes rows `start` to `stop` of the tensor reshaped to `[-1, shape[-1]]`; else as a call.

        A backend guards what it reads; for numpy a file that is mapped is read by copying.
        """
        guarded = self.backend is not None and tensor.dtype.name in ENCODED_FROM
        read = tensor.row_data if guarded else tensor.copy_rows
        return self(tensor, read(start, stop), stop - start)

    def __call__(self, tensor: TensorInfo, data: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
        """Encodes `data`, the bytes of some rows of a tensor: returns one-dimensional uint8.

        Raises `FormatError`, with the tensor's name, for a number that `dtype` cannot store, and if the
        tensor's file has been cut short; `ShapeError` if `data` is of another size or a row is not whole
        blocks.
        """
        shape = (rows, tensor.shape[-1])
        self.dtype.nbytes(shape)
        tensor.check_file()
        try:
            return self._encoded(tensor.dtype, data, shape)
        except FormatError as error:
            tensor.check_file()  # what was cut off reads as zeros, which may have led to the error
            raise FormatError(f"tensor {quote(tensor.name)}: {error}") from None

    def _encoded(self, source: DType, data: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
        if self.backend is not None and source.name in ENCODED_FROM:
            if data.size != source.nbytes(shape):
                raise ShapeError(f"{shape} elements take {source.nbytes(shape)} bytes, not {data.size}")
            return self.backend.quantize_rows(data, source.name, self.dtype.name)
        values = np.ascontiguousarray(source.to_float32(data, shape))
        if source.name == "F64":
            exact = data.view("<f8").reshape(shape)
            lost = np.isinf(values) & np.isfinite(exact)
            if lost.any():
                raise unstorable(exact[lost], self.dtype.name)
        if self.backend is None:
            return self.dtype.from_float32(values)
        return self.backend.quantize_rows(values.reshape(-1).view(np.uint8), "F32", self.dtype.name)


def encoder(dtype: DType, plugins: Plugins) -> Encoder:
    """The encoder of a type: that of the fastest installed backend that has one, or else numpy's.

    A backend that fails, or that cannot run on this machine, is skipped with a warning in the log. All give
    the same bytes. Raises `UnsupportedError` for a type without an encoder.
    """
    if dtype.quantize is None:
        encoded = ", ".join(name for name, each in DTYPES.items() if each.quantize is not None)
        raise UnsupportedError(f"there is no encoder for {quote(dtype.name)}; there are ones for {encoded}")
    usable: list[QuantizingBackend] = []
    block = np.zeros(dtype.block_size * 4, np.uint8)
    for name in plugins.backends:
        try:
            backend = make_backend(name, plugins, {})
            if isinstance(backend, QuantizingBackend) and dtype.name in backend.quantized_types:
                call(f"the backend {name!r}", partial(backend.quantize_rows, block, "F32", dtype.name))
                usable.append(backend)
        except (PluginError, UnsupportedError) as error:
            report(f"passed over: {error}")
    return Encoder(dtype, max(usable, key=lambda backend: backend.speed, default=None))
