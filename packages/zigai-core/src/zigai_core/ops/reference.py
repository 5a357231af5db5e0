"""The numpy reference backend: evaluates the operations of a graph in order, by their definitions.

It is slow but supports every operation; other backends are tested against it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Batch, Pages, Slots
from zigai_core.contracts.best import Best, Edits, best
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import Cancelled, PluginError, UnsupportedError, ZigAIError
from zigai_core.contracts.graph import Array, Graph, Value, Weight
from zigai_core.contracts.options import KV_DTYPES, CompileOptions
from zigai_core.contracts.plugins import OperationTime, ProgramReport, Progress, TensorReport
from zigai_core.contracts.state import State
from zigai_core.ops.batch_checks import check_batch, check_context, check_pairs
from zigai_core.ops.reference_states import (
    CacheMemory,
    CacheStep,
    Memory,
    SlotMemory,
    SlotStep,
    memory_bytes,
    new_memory,
)

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
        for name in ("context", "batch", "page"):
            if getattr(options, name) < 1:
                raise UnsupportedError(f"options: {name} is {getattr(options, name)}, must be at least 1")
        if options.kv_dtype not in KV_DTYPES:
            raise UnsupportedError(
                f"the numpy backend supports kv_dtype {', '.join(KV_DTYPES)}, not {options.kv_dtype}"
            )
        check_context(graph, options.context)
        used = {weight.name: weights[weight.name].reshaped(weight.shape) for weight in graph.weights}
        total = sum(tensor.nbytes for tensor in used.values())
        size = sum(4 * int(np.prod(tensor.shape, dtype=np.int64)) for tensor in used.values())
        kept: dict[str, Array] = {}
        if size <= KEEP_BYTES:
            done = 0
            for name, tensor in used.items():
                kept[name] = values = tensor.to_float32()
                if values.flags.writeable and tensor.release is not None:
                    tensor.release()  # the values are a copy
                done += tensor.nbytes
                if progress is not None:
                    progress(done, total)
        return NumpyProgram(graph, used, kept, options)


class NumpyProgram:
    """A graph with its weights, those in `kept` already dequantised."""

    batch_invariant = False
    """BLAS adds up products in an order that depends on the number of rows."""

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

    @property
    def state_bytes(self) -> tuple[int, ...]:
        """The bytes of one page or slot of each of the graph's groups."""
        page = self.options.page
        return tuple(sum(memory_bytes(state, page) for state in group.states) for group in self.graph.groups)

    def new_executor(self, sizes: Sequence[int]) -> NumpyExecutor:
        """Returns an executor with so many pages or slots of each of the graph's groups.

        Raises `UnsupportedError` for another number of sizes, or if there is not enough memory.
        """
        if len(sizes) != len(self.graph.groups) or any(size < 1 for size in sizes):
            raise UnsupportedError(f"sizes {list(sizes)}: the graph has {len(self.graph.groups)} groups")
        try:
            return NumpyExecutor(self, tuple(sizes))
        except (MemoryError, ValueError) as error:
            raise UnsupportedError(f"no memory for {list(sizes)} pages or slots: {error}") from error

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
        kept = self._kept_values(weight)
        return self._weights[weight.name].to_float32() if kept is None else kept

    def weight_rows(self, weight: Weight, rows: NDArray[np.int32]) -> Array:
        """Returns some rows as float32: indices into the tensor reshaped to `[-1, weight.shape[-1]]`."""
        kept = self._kept_values(weight)
        if kept is None:
            return self._weights[weight.name].rows_to_float32(rows)
        return kept.reshape(-1, weight.shape[-1])[rows]

    def _kept_values(self, weight: Weight) -> Array | None:
        kept = self._kept.get(weight.name)
        if kept is not None and not kept.flags.writeable:  # a view of the mapped file
            self._weights[weight.name].check_file()
        return kept


class NumpyExecutor:
    """Runs a program: holds the states' memory. Not thread-safe."""

    def __init__(self, program: NumpyProgram, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes
        self._program = program
        self._process = os.getpid()
        self._seconds: list[float] = []
        self._groups = [
            [new_memory(state, size, program.options) for state in group.states]
            for group, size in zip(program.graph.groups, sizes, strict=True)
        ]

    def run(self, batch: Batch, stop: NDArray[np.int32]) -> NumpyOutputs:
        """Evaluates the graph for one batch."""
        self._check_process()
        graph = self._program.graph
        check_batch(batch, graph, self._program.options, self.sizes)
        step = NumpyStep(self._program, batch, self._groups)
        with np.errstate(all="ignore"):  # damaged weights may give infinities and NaN; they are returned
            for index, operation in enumerate(graph.operations):
                if stop[0]:
                    raise Cancelled("the step was cancelled")
                began = time.perf_counter()
                step.values[operation.output.name] = operation.evaluate(step)
                if self._seconds:
                    self._seconds[index] += time.perf_counter() - began
        return NumpyOutputs({name: step[value].astype(np.float32) for name, value in graph.outputs.items()})

    def copy(self, group: int, pairs: Sequence[tuple[int, int]]) -> None:
        """Copies whole pages or slots of every state of a group. `ShapeError` for one that does not exist."""
        self._check_process()
        check_pairs(group, pairs, self.sizes)
        for memory in self._groups[group]:
            for array in memory.arrays.values():
                for source, target in pairs:
                    array[target] = array[source]

    def start_profile(self) -> None:
        """Resets all times to zero and starts measuring."""
        self._seconds = [0.0] * len(self._program.graph.operations)

    def profile(self) -> Sequence[OperationTime]:
        """Returns the times so far."""
        return [
            OperationTime(type(operation).__name__, operation.output.name, "", seconds)
            for operation, seconds in zip(self._program.graph.operations, self._seconds, strict=False)
        ]

    def _check_process(self) -> None:
        # Two processes that go on with one sequence would each take the other's tokens for its own.
        if os.getpid() != self._process:
            raise ZigAIError(
                f"this executor belongs to process {self._process}; in a forked process, make a new one with "
                "program.new_executor()"
            )


class NumpyOutputs:
    """The outputs of a step."""

    def __init__(self, outputs: Mapping[str, Array]) -> None:
        self._outputs = outputs

    def rows(self, name: str) -> Array:
        """Returns an output, float32 `[output rows, width]`."""
        return self._outputs[name]

    def best(
        self,
        row: int,
        k: int,
        edits: Edits | None = None,
        mask: NDArray[np.uint32] | None = None,
        *,
        width: int | None = None,
    ) -> Best:
        """Returns the k best logits of an output row."""
        return best(self._outputs["logits"][row], k, edits, mask, width=width)


class NumpyStep:
    """A step that is being computed: the values so far, the weights and the states. See `Step`."""

    def __init__(self, program: NumpyProgram, batch: Batch, groups: Sequence[Sequence[Memory]]) -> None:
        self.batch = batch
        self.values: dict[str, Array] = {}
        self.weight = program.weight
        self.weight_rows = program.weight_rows
        self._memories = {
            memory.state.name: (memory, places)
            for memories, places in zip(groups, batch.groups, strict=True)
            for memory in memories
        }

    def __getitem__(self, value: Value) -> Array:
        return self.values[value.name]

    def keys_and_values(self, state: State) -> CacheStep:
        """Returns the KV cache with this name."""
        memory, places = self._memories[state.name]
        if not isinstance(memory, CacheMemory) or not isinstance(places, Pages):
            raise PluginError(f"the state {state.name} is not a KV cache")
        return CacheStep(memory, self.batch, places)

    def recurrent(self, state: State) -> SlotStep:
        """Returns the recurrent state with this name."""
        memory, places = self._memories[state.name]
        if not isinstance(memory, SlotMemory) or not isinstance(places, Slots):
            raise PluginError(f"the state {state.name} is not a recurrent state")
        return SlotStep(memory, places)
