"""`Conversion`: the tensors of a model as a GGUF file stores them."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from zigai_core.api.encoding import Encoder, encoder
from zigai_core.api.registry import Plugins
from zigai_core.api.target_type import target_type
from zigai_core.contracts.descriptor import ModelDescriptor, Pairing, TensorInfo
from zigai_core.contracts.dtypes import DTYPES, DType
from zigai_core.contracts.errors import FormatError, quote
from zigai_gguf.rope_pairing import rope_pairing
from zigai_gguf.tensor_data import TensorData

THREADS = min(os.cpu_count() or 1, 8)
"""Threads that convert."""

_QUERIES_AND_KEYS = re.compile(r"blk\.(\d{1,5})\.attn_([qk])\.(weight|bias)")
_FLOATS = re.compile(
    r"blk\.\d+\.((ssm_conv1d|shortconv\.conv|ssm_norm)\.weight|ssm_[ad])|(position_embd|token_types)\.weight"
)
"""Matrices that readers of GGUF take as F32 alone (llama.cpp, conversion/base.py, `prepare_tensors`)."""
_ELEMENTS = 1 << 19
"""Elements converted at a time: more take longer, since memory for the results is then fetched anew."""


class Conversion:
    """Converts tensors to the type asked for, with their rows in GGUF's order, in several threads.

    A context manager, which ends the threads.
    """

    def __init__(self, model: ModelDescriptor, dtype: str | None, plugins: Plugins) -> None:
        """`dtype`: of matrices; None keeps the type of each. `plugins`: their fastest backend encodes."""
        self._model = model
        self._dtype = dtype
        self._plugins = plugins
        self._encoders: dict[str, Encoder] = {}
        self._pool = ThreadPoolExecutor(THREADS)

    def __enter__(self) -> Conversion:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the threads, after the work that they have begun."""
        self._pool.shutdown(cancel_futures=True)

    def of(self, tensor: TensorInfo) -> TensorData:
        """Returns the tensor as it is written. It is read and encoded when it is written, piece by piece."""
        target = self._target(tensor)
        order = row_order(self._model, tensor)
        rows, width = int(np.prod(tensor.shape[:-1])), tensor.shape[-1]
        if len(tensor.shape) == 1 and order is not None:  # a bias, whose elements are rows
            rows, width = tensor.shape[0], 1
        matrix = tensor.changed(shape=(rows, width))
        encode = None if tensor.dtype.name == target.name else self._encoder(target)
        step = max(1, _ELEMENTS // width)

        def chunks() -> Iterator[NDArray[np.uint8]]:
            whole = None if order is None else matrix.copy_rows(0, rows).reshape(rows, -1)

            def piece(start: int) -> NDArray[np.uint8]:
                end = min(start + step, rows)
                if whole is not None and order is not None:
                    taken = whole[order[start:end]].reshape(-1)
                    return taken if encode is None else encode(matrix, taken, end - start)
                return matrix.copy_rows(start, end) if encode is None else encode.rows(matrix, start, end)

            yield from _in_order(self._pool, piece, range(0, rows, step))
            if tensor.release is not None:
                tensor.release()

        return TensorData(tensor.shape, target, chunks)

    def _target(self, tensor: TensorInfo) -> DType:
        if len(tensor.shape) == 1 or _FLOATS.fullmatch(tensor.name):
            return DTYPES["F32"]
        return tensor.dtype if self._dtype is None else target_type(tensor, self._dtype)

    def _encoder(self, dtype: DType) -> Encoder:
        if dtype.name not in self._encoders:
            self._encoders[dtype.name] = encoder(dtype, self._plugins)
        return self._encoders[dtype.name]


def encoded_again(model: ModelDescriptor, dtype: str) -> str | None:
    """Returns which matrices are stored in blocks and would be encoded in those of another type, or None."""
    found = [
        tensor.dtype.name
        for tensor in model.tensors.values()
        if len(tensor.shape) > 1
        and tensor.dtype.block_size > 1
        and target_type(tensor, dtype).block_size > 1
        and target_type(tensor, dtype).name != tensor.dtype.name
    ]
    if not found:
        return None
    stored = ", ".join(sorted(set(found)))
    return (
        f"{len(found)} tensors that are stored as {stored} are encoded again, which loses accuracy; a model "
        "in floats makes a better file"
    )


def row_order(model: ModelDescriptor, tensor: TensorInfo) -> NDArray[np.intp] | None:
    """The rows of a matrix of queries or keys in the order of GGUF's pairs for RoPE; None if they stay."""
    found = _QUERIES_AND_KEYS.fullmatch(tensor.name)
    wanted: Pairing = rope_pairing(model.architecture, dict(model.hyperparameters.items()))
    given = model.conventions.rope_pairing
    if found is None or wanted == given:
        return None
    hp = model.hyperparameters
    heads = hp.integer("attention.head_count", minimum=1)
    if found[2] == "k":
        layers = hp.integer("block_count", minimum=int(found[1]) + 1)
        heads = hp.integers("attention.head_count_kv", layers, heads)[int(found[1])]
    rows = tensor.shape[0]
    if heads < 1 or rows % (2 * heads) or hp.integer("rope.dimension_count", rows // heads) != rows // heads:
        raise FormatError(
            f"tensor {quote(tensor.name)} has {rows} rows for {heads} heads that are rotated whole"
        )
    half = rows // heads // 2
    shape = (heads, 2, half) if wanted == "adjacent" else (heads, half, 2)
    return np.arange(rows).reshape(shape).swapaxes(1, 2).reshape(-1)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[int], NDArray[np.uint8]], places: range
) -> Iterator[NDArray[np.uint8]]:
    """The results of work at each place, in order; a few are computed ahead."""
    ahead: deque[Future[NDArray[np.uint8]]] = deque()
    for place in places:
        ahead.append(pool.submit(work, place))
        if len(ahead) > 2 * THREADS:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()
