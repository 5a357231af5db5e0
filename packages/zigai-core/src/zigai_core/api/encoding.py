"""Encodes weights in other storage types: which tensors, as what, and with which backend."""

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
from zigai_core.contracts.errors import PluginError, UnsupportedError, quote
from zigai_core.contracts.plugins import QuantizingBackend

FLOATS = frozenset({"F32", "F16", "BF16"})
"""Storage types from which backends encode."""

_AT_8_BITS = frozenset({"output.weight", "token_embd.weight"})
"""The matrices of logits and embeddings: with 4 bits, they would lose the most accuracy."""


@dataclass(frozen=True)
class Encoder:
    """Encodes tensors as `dtype`, with a backend or, if that is None, with `DType.from_float32`.

    Threads may share it. A call uses one thread, so callers split rows over threads.
    """

    dtype: DType
    backend: QuantizingBackend | None

    def __call__(self, data: NDArray[np.uint8], source: DType, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Encodes a tensor of `shape`, or rows of one, that is stored as `source` in the bytes `data`.

        Returns one-dimensional uint8 of `dtype.nbytes(shape)` bytes. Raises `FormatError` for a number that
        `dtype` cannot store; `ShapeError` if `data` is of another size or a row is not whole blocks.
        """
        self.dtype.nbytes(shape)
        if self.backend is None or source.name not in FLOATS or data.size != source.nbytes(shape):
            values = source.to_float32(data, shape)
            if self.backend is None:
                return self.dtype.from_float32(values)
            data, source = np.ascontiguousarray(values).reshape(-1).view(np.uint8), DTYPES["F32"]
        return self.backend.quantize_rows(data, source.name, self.dtype.name)


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


def stored_type(tensor: TensorInfo, wanted: str) -> DType:
    """The type that a tensor is stored as in a model whose matrices are to be of the type `wanted`.

    Vectors stay as they are. If `wanted` is quantised, so do tensors whose names do not end in `.weight` and
    the routers of experts (`ffn_gate_inp`), and with 4 bits `output.weight` and `token_embd.weight` become
    Q8_0. A matrix whose rows are not whole blocks becomes Q8_0 or, if a row is not of whole blocks of 32
    either, F16.
    """
    chosen = DTYPES[wanted]
    width = tensor.shape[-1]
    if len(tensor.shape) == 1:
        return tensor.dtype
    if chosen.block_size == 1:
        return chosen
    if not tensor.name.endswith(".weight") or "ffn_gate_inp" in tensor.name:
        return tensor.dtype
    if tensor.name in _AT_8_BITS or width % chosen.block_size:
        chosen = DTYPES["Q8_0"]
    return DTYPES["F16"] if width % chosen.block_size else chosen
