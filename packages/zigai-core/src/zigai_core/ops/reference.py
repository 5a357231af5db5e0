"""The numpy reference backend: evaluates the operations of a graph in order, by their definitions.

It is slow but supports every operation; other backends are tested against it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Batch
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import Cancelled, UnsupportedError
from zigai_core.contracts.graph import Array, Graph, Value, Weight
from zigai_core.contracts.options import KV_DTYPES, CompileOptions
from zigai_core.contracts.plugins import OperationTime, ProgramReport, Progress, TensorReport

KEEP_BYTES = 4 << 30
"""If all weights as float32 fit into this, they are dequantised once, at load; otherwise at every use."""


class NumpyBackend:
    """The reference backend. It supports every operation, since each is defined in numpy."""

    name = "numpy"
    speed = 0

    def ignored(self, options: CompileOptions) -> Mapping[str, str]:
        """Returns `threads`, if set, and `kv_dtype`, if it is F16."""
        found: dict[str, str] = {}
        if options.threads is not None:
            found["threads"] = "numpy's BLAS library decides (OMP_NUM_THREADS, OPENBLAS_NUM_THREADS)"
        if options.kv_dtype == "F16":
            found["kv_dtype"] = "keys and values are stored as F32"
        return found

    def missing(self, graph: Graph, weights: Mapping[str, TensorInfo]) -> Sequence[str]:
        """Returns the storage types without a dequantiser, each with a tensor of that type."""
        found: dict[str, str] = {}
        for weight in graph.weights:
            tensor = weights[weight.name]
            if tensor.dtype.dequantize is None and tensor.dtype.name not in found:
                found[tensor.dtype.name] = f"dequantise {tensor.dtype.name} ({tensor.name})"
        return list(found.values())

    def compile(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        options: CompileOptions,
        progress: Progress | None = None,
    ) -> NumpyProgram:
        """Returns a program; dequantises the weights if all of them fit into `KEEP_BYTES`."""
        missing = self.missing(graph, weights)
        if missing:
            raise UnsupportedError("the numpy backend cannot " + "; nor ".join(missing))
        if options.kv_dtype not in KV_DTYPES:
            raise UnsupportedError(
                f"the numpy backend supports kv_dtype {', '.join(KV_DTYPES)}, not {options.kv_dtype}"
            )
        used = {weight.name: weights[weight.name].reshaped(weight.shape) for weight in graph.weights}
        total = sum(tensor.nbytes for tensor in used.values())
        size = sum(4 * int(np.prod(tensor.shape, dtype=np.int64)) for tensor in used.values())
        kept: dict[str, Array] = {}
        if size <= KEEP_BYTES:
            done = 0
            for name, tensor in used.items():
                kept[name] = tensor.to_float32()
                done += tensor.nbytes
                if progress is not None:
                    progress(done, total)
        return NumpyProgram(graph, used, kept, options)


class NumpyProgram:
    """A graph with its weights, those in `kept` already dequantised."""

    def __init__(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        kept: Mapping[str, Array],
        options: CompileOptions,
    ) -> None:
        self.graph = graph
        self.options = options
        self._weights = weights
        self._kept = kept

    def new_context(self, sequences: int = 1) -> NumpyContext:
        """Returns a context with pages for `sequences` of maximum length; memory is used as they fill."""
        return NumpyContext(self, sequences * self.options.pages)

    def report(self) -> ProgramReport:
        """Returns each tensor, and whether it is dequantised at load or at every use."""
        packing = "dequantised at load" if self._kept else "dequantised at every use"
        tensors = tuple(
            TensorReport(
                tensor=name,
                dtype=tensor.dtype.name,
                shape=tensor.shape,
                kernel="numpy",
                instruction_set="numpy",
                packing=packing,
                nbytes=self._kept[name].nbytes if self._kept else tensor.nbytes,
            )
            for name, tensor in self._weights.items()
        )
        cache = ", Q8_0 cache" if self.options.kv_dtype == "Q8_0" else ""
        return ProgramReport("numpy", f"numpy, float32{cache}", tensors)

    def weight(self, weight: Weight) -> Array:
        """Returns a whole tensor as float32."""
        kept = self._kept.get(weight.name)
        return self._weights[weight.name].to_float32() if kept is None else kept

    def weight_rows(self, weight: Weight, rows: NDArray[np.int32]) -> Array:
        """Returns some rows as float32: indices into the tensor reshaped to `[-1, weight.shape[-1]]`."""
        kept = self._kept.get(weight.name)
        if kept is None:
            return self._weights[weight.name].rows_to_float32(rows)
        return kept.reshape(-1, weight.shape[-1])[rows]


class NumpyContext:
    """The cache's pages: for each layer, float32 `[pages, page, KV heads, width]` for keys and for values.

    If `CompileOptions.kv_dtype` is Q8_0, the numbers are rounded as Q8_0 would round them.
    """

    def __init__(self, program: NumpyProgram, pages: int) -> None:
        self.pages = pages
        self._program = program
        self._cancelled = threading.Event()
        self._seconds: list[float] = []
        page = program.options.page
        self._keys = {c.layer: _zeros(pages, page, c.kv_heads, c.key_dim) for c in program.graph.cache}
        self._values = {c.layer: _zeros(pages, page, c.kv_heads, c.value_dim) for c in program.graph.cache}

    def run(self, batch: Batch) -> Mapping[str, Array]:
        """Evaluates the graph for one batch."""
        graph = self._program.graph
        step = NumpyStep(self._program, batch, self._keys, self._values)
        with np.errstate(all="ignore"):  # damaged weights may give infinities and NaN; they are returned
            for index, operation in enumerate(graph.operations):
                if self._cancelled.is_set():
                    raise Cancelled("the step was cancelled")
                began = time.perf_counter()
                step.values[operation.output.name] = operation.evaluate(step)
                if self._seconds:
                    self._seconds[index] += time.perf_counter() - began
        return {name: step[value].astype(np.float32) for name, value in graph.outputs.items()}

    def start_profile(self) -> None:
        """Resets all times to zero and starts measuring."""
        self._seconds = [0.0] * len(self._program.graph.operations)

    def profile(self) -> Sequence[OperationTime]:
        """Returns the times so far."""
        return [
            OperationTime(type(operation).__name__, operation.output.name, "", seconds)
            for operation, seconds in zip(self._program.graph.operations, self._seconds, strict=False)
        ]

    def copy_pages(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copies whole pages of every layer."""
        for kept in (*self._keys.values(), *self._values.values()):
            for source, target in pairs:
                kept[target] = kept[source]

    def cancel(self) -> None:
        """Stops the running step after the current operation, and later steps before their first."""
        self._cancelled.set()

    def resume(self) -> None:
        """Allows steps to run again."""
        self._cancelled.clear()


class NumpyStep:
    """A step that is being computed: the values so far, the weights and the cache. See `Step`."""

    def __init__(
        self, program: NumpyProgram, batch: Batch, keys: Mapping[int, Array], values: Mapping[int, Array]
    ) -> None:
        self.batch = batch
        self.values: dict[str, Array] = {}
        self.weight = program.weight
        self.weight_rows = program.weight_rows
        self._page = program.options.page
        self._rounds = program.options.kv_dtype == "Q8_0"
        self._keys = keys
        self._cached_values = values

    def __getitem__(self, value: Value) -> Array:
        return self.values[value.name]

    def remember(self, layer: int, keys: Array, values: Array) -> None:
        """Writes the step's keys and values to their slots."""
        batch = self.batch
        if self._rounds:
            keys, values = after_q8_0(keys), after_q8_0(values)
        pages = np.array(
            [
                batch.page_tables[sequence][position // self._page]
                for sequence, position in zip(batch.sequences, batch.positions, strict=True)
            ],
            dtype=np.int64,
        )
        slots = batch.positions % self._page
        self._keys[layer][pages, slots] = keys
        self._cached_values[layer][pages, slots] = values

    def recall(self, layer: int, sequence: int, length: int) -> tuple[Array, Array]:
        """Returns the keys and values of the first `length` positions of a sequence."""
        pages = self.batch.page_tables[sequence][: -(-length // self._page)]
        keys, values = self._keys[layer][pages], self._cached_values[layer][pages]
        keys, values = (kept.reshape(-1, *kept.shape[2:])[:length] for kept in (keys, values))
        return keys, values


def after_q8_0(x: Array) -> Array:
    """Returns `x` quantised to Q8_0 and dequantised again: int8 with a float16 scale per 32 elements.

    Blocks run along the last axis, and the last block may have fewer than 32 elements. As in GGUF's Q8_0, the
    scale is the largest magnitude divided by 127, and a block with an element that is not finite is lost.
    """
    size = x.shape[-1]
    parts = np.zeros((*x.shape[:-1], -(-size // 32), 32), np.float32)
    parts.reshape(*x.shape[:-1], -1)[..., :size] = x
    most = np.abs(parts).max(axis=-1, keepdims=True)
    scale = (most / np.float32(127)).astype(np.float16).astype(np.float32)
    inverse = np.divide(np.float32(127), most, out=np.zeros_like(most), where=most > 1e-35)
    with np.errstate(invalid="ignore"):
        whole: Array = np.clip(np.rint(parts * inverse), -127, 127) * scale
    return whole.reshape(*x.shape[:-1], -1)[..., :size]


def _zeros(*shape: int) -> Array:
    return np.zeros(shape, dtype=np.float32)
