"""Programs: compiled graphs with their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import WANTED, Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import ProgramReport, Progress, TensorReport
from zigai_core.contracts.state import KVCache
from zigai_kernels.checks import check_sizes
from zigai_kernels.executor import NativeExecutor
from zigai_kernels.lowering import Lowered
from zigai_kernels.memory import Buffer, plan_memory
from zigai_kernels.packer import Packer
from zigai_kernels.packing import PANEL_ROWS, Packing
from zigai_kernels.plan import Plan
from zigai_kernels.records import RECURRENT, Record, in_place
from zigai_kernels.storage import CODES

ATTENTION_QUERIES = 48
"""Query vectors of an attention tile, tokens times heads of a group: a multiple of the number that kernels
hold in registers."""

ATTENTION_SPAN = 512
"""Entries of a span of attention (attention.c), rounded down to whole pages, at least one page."""

MOST_ELEMENTS = 1 << 38
"""Largest number of elements of a value for a full batch: C counts chunks in 32 bits."""


class NativeProgram:
    """A graph as an array of C records, with the weights they point to. Immutable."""

    batch_invariant = True

    def __init__(
        self,
        graph: Graph,
        options: CompileOptions,
        lowered: Lowered,
        module: ModuleType,
        instruction_set: str,
        threads: int,
        progress: Progress | None = None,
        packed_cache: Path | None = None,
    ) -> None:
        self.graph = graph
        self.options = options
        self.packed_cache = packed_cache
        self.instruction_set = instruction_set
        self.threads = threads
        self.vocabulary = lowered.vocabulary
        self.lowered = lowered
        self.ffi: Any = module.ffi
        self.lib: Any = module.lib
        self.output_values = {value.name: value.width for value in graph.outputs.values()}
        self._in_place = in_place(lowered.records)
        self.memory = plan_memory(self._buffers())
        self.packer = Packer(self.ffi, self.lib, threads, packed_cache)
        self.weights = self.packer.pack(lowered.packings, _counter(lowered, progress))
        self._alive: list[Any] = []
        self._lay_out_pages()
        self.records = self._records()
        self.stages = self._stages()
        native = self._native_plan()
        self.plan = Plan(
            module=module,
            ffi=self.ffi,
            lib=self.lib,
            native=native,
            memory=(self.records, self.stages, self._alive),
            graph=graph,
            options=options,
            threads=threads,
            vocabulary=lowered.vocabulary,
            sections=lowered.sections,
            scratch_bytes=self.memory.nbytes,
            state_bytes=self.state_bytes,
            records=tuple(lowered.records),
            widths=self.output_values,
            outputs={name: value.name for name, value in graph.outputs.items()},
            tensors=tuple(packing.tensor for packing in self.weights),
            logits_panels=0 if native.logits < 0 else -(-graph.outputs["logits"].width // PANEL_ROWS),
        )

    @property
    def state_bytes(self) -> tuple[int, ...]:
        """The bytes of a page or slot of each of the graph's groups."""
        return self._state_bytes

    def new_executor(self, sizes: Sequence[int]) -> NativeExecutor:
        """An executor with `sizes[i]` pages or slots of group i; see `zigai_core.contracts.plugins.Program`.

        They take no memory until they are written to. `UnsupportedError` for sizes out of range, or if the
        system has no memory or threads.
        """
        return NativeExecutor(self.plan, check_sizes(sizes, self.plan))

    def report(self) -> ProgramReport:
        """A summary, and for each tensor its kernels, instruction set, layout and bytes."""
        tensors = tuple(
            TensorReport(
                tensor=name,
                dtype=uses[0].tensor.dtype.name,
                shape=uses[0].tensor.shape,
                kernel=", ".join(packing.kernel for packing in uses),
                instruction_set=self.instruction_set,
                packing=", ".join(dict.fromkeys(packing.form for packing in uses)),
                nbytes=sum({id(data): data.nbytes for data in (self.weights[use] for use in uses)}.values()),
            )
            for name, uses in self.lowered.packings.items()
        )
        threads = f"{self.threads} thread" + ("s" if self.threads > 1 else "")
        summary = (
            f"native, {self.instruction_set}, {threads}: {len(self.records)} records "
            f"in {len(self.lowered.stages)} stages, "
            f"{self.memory.nbytes >> 10} KiB of scratch"
            + (f", {self.options.kv_dtype} cache" if self.graph.groups else "")
            + (f", weights mapped from {self.packed_cache}" if self.packed_cache else "")
        )
        return ProgramReport("native", summary, tensors)

    def _buffers(self) -> list[Buffer]:
        """The values of a step in scratch memory, with their sizes for a full batch.

        Lifetimes are counted in stages, because the records of a stage run at the same time.
        """
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for index, stage in enumerate(self.lowered.stages):
            for record in stage.records:
                for name in record.operands:
                    last[name] = index
                if record.operation != "STORE":
                    first[record.output] = last[record.output] = index
        buffers = []
        for name, width in self.lowered.widths.items():
            if width * self.options.batch > MOST_ELEMENTS:
                raise UnsupportedError(
                    f"{name} is {width} wide, too much for a batch of {self.options.batch}; use a smaller one"
                )
        for name, source in reversed(self._in_place.items()):
            last[source] = max(last[source], last[name])
        for name, start in first.items():
            if name in self.output_values or name in self._in_place:
                continue
            quantised = self.lowered.quantised.get(name)
            if quantised is None:
                row = 4 * self.lowered.widths[name]
            else:
                storage, width, repeat = quantised
                row = self.lib.zg_activation_bytes(CODES[storage], width) * repeat
            more = self.lib.zg_group_bytes(self.lowered.experts.get(name, 0))
            buffers.append(Buffer(name, row * self.options.batch + more, start, last[name]))
        return buffers

    def _records(self) -> Any:
        """The C array of records."""
        array = self.ffi.new("zg_record[]", max(1, len(self.lowered.records)))
        outputs = {name: -1 - i for i, name in enumerate(self.output_values)}
        places = {**self.memory.offsets, **outputs}
        for name, source in self._in_place.items():
            places[name] = places[source]
        for target, record in zip(array, self.lowered.records, strict=False):
            self._fill(target, record, places)
            if record.operation in RECURRENT or record.operation in ("STORE", "ATTENTION"):
                rows = len(self._state_bytes), 0  # the table after those of the groups
                target.group, target.cache = self._places[record.state.name] if record.state else rows
        return array

    def _stages(self) -> Any:
        """The C array of stages."""
        array = self.ffi.new("zg_stage[]", max(1, len(self.lowered.stages)))
        first = 0
        for target, stage in zip(array, self.lowered.stages, strict=False):
            target.first, target.count, target.by_rows = first, len(stage.records), stage.by_rows
            first += len(stage.records)
        return array

    def _fill(self, target: Any, record: Record, places: dict[str, int]) -> None:
        self._fill_shape(target, record)
        target.output = places.get(record.output, 0)
        target.x = places.get(record.x or "", 0)
        target.y = places.get(record.y or "", target.x)  # operations of one operand share code that reads y
        for number, name in enumerate(record.more):
            target.more[number] = places.get(name, 0)
        if isinstance(record.weight, Packing):
            target.stride = self.packer.stride(record.weight)
        if record.operation in RECURRENT:
            target.stride = self.lib.zg_slot_bytes(self.ffi.addressof(target))
        if record.weight is not None:
            target.weight = self._pointer(record.weight)
        if record.bias is not None:
            target.bias = self._pointer(record.bias)
        if record.sections is not None:
            target.sections = self._pointer(record.sections)

    def _fill_shape(self, target: Any, record: Record) -> None:
        """Set what does not point to memory."""
        lib = self.lib
        target.operation = getattr(lib, f"ZG_{record.operation}")
        target.type = CODES.get(record.storage or "F32", 0)
        target.rows = lib.ZG_WANTED if record.rows == WANTED else lib.ZG_TOKENS
        target.width = record.width
        if record.mode is not None:
            target.mode = getattr(lib, f"ZG_{record.mode}")
        for name, number in record.numbers.items():
            setattr(target, name, number)

    def _recurrent_shapes(self) -> dict[str, Any]:
        """C records of the operations with recurrent states, without addresses, by the names of the states.

        `UnsupportedError` if a step has more chunks than C can count.
        """
        found = {}
        for record in self.lowered.records:
            if record.operation in RECURRENT and record.state is not None:
                shape = found[record.state.name] = self.ffi.new("zg_record *")
                self._fill_shape(shape, record)
                if self.lib.zg_recurrent_chunks(shape) * self.options.batch >= 2**31:
                    raise UnsupportedError(
                        f"{record.output} is too wide for a batch of {self.options.batch}; use a smaller one"
                    )
        return found

    def _pointer(self, weight: Packing | np.ndarray[Any, Any]) -> Any:
        data = self.weights[weight] if isinstance(weight, Packing) else weight
        buffer = self.ffi.from_buffer(data)
        self._alive.append((buffer, data))
        return self.ffi.cast("void *", buffer)

    def _lay_out_pages(self) -> None:
        """Place the states in their groups' pages or slots: `_places` has the group and offset of each."""
        self._recurrent = self._recurrent_shapes()
        self._places: dict[str, tuple[int, int]] = {}
        sizes: list[int] = []
        for number, group in enumerate(self.graph.groups):
            nbytes = 0
            for state in group.states:
                self._places[state.name] = number, nbytes
                if isinstance(state.spec, KVCache):
                    nbytes += self._page_bytes(state.spec)
                else:
                    nbytes += int(self.lib.zg_slot_bytes(self._recurrent[state.name]))
            sizes.append(nbytes)
        self._state_bytes = tuple(sizes)

    def _page_bytes(self, cache: KVCache) -> int:
        """The bytes of a page of one cache's keys and values."""
        shape = cache.kv_heads, cache.key_dim, cache.value_dim
        return int(self.lib.zg_cache_bytes(self.options.page, *shape, CODES[self.options.kv_dtype]))

    def _native_plan(self) -> Any:
        plan = self.ffi.new("zg_plan *")
        fields = ("heads", "kv_heads", "head_dim", "value_dim")
        shapes = [
            [int(record.numbers[name]) for name in fields]
            for record in self.lowered.records
            if record.operation == "ATTENTION"
        ]
        groups = [(heads // kv_heads, *widths) for heads, kv_heads, *widths in shapes]
        tile = max(1, ATTENTION_QUERIES // max((group for group, *_ in groups), default=1))
        span = max(1, ATTENTION_SPAN // self.options.page) * self.options.page
        spans = -(-self.options.context // span)
        plan.records = self.records
        plan.count = len(self.lowered.records)
        plan.stages = self.stages
        plan.stage_count = len(self.lowered.stages)
        plan.batch = self.options.batch
        plan.page = self.options.page
        plan.tile = tile
        plan.span = span
        plan.scratch_bytes = self.memory.nbytes
        plan.thread_bytes = max(
            max((self.lib.zg_attention_bytes(tile, *group) for group in groups), default=0),
            max(map(self.lib.zg_route_bytes, self.lowered.routes), default=0),
            max(map(self.lib.zg_recurrent_bytes, self._recurrent.values()), default=0),
        )
        plan.partial_bytes = max(
            (self.lib.zg_partial_bytes(spans, heads, size) for heads, *_, size in shapes), default=0
        )
        sizes = self.ffi.new("int64_t[]", list(self._state_bytes))
        self._alive.append(sizes)
        plan.group_bytes = sizes
        plan.groups = len(self._state_bytes)
        plan.logits = self._logits_record()
        return plan

    def _logits_record(self) -> int:
        """The index of the record that computes the logits by a matrix; -1 if something else does."""
        logits = self.graph.outputs.get("logits")
        for index, record in enumerate(self.lowered.records):
            if logits is not None and record.output == logits.name:
                return index if (record.operation, record.rows) == ("LINEAR", WANTED) else -1
        return -1


def _counter(lowered: Lowered, progress: Progress | None) -> Callable[[int], None]:
    """A function that adds up the bytes of packed tensors and reports them to `progress`."""
    total = sum(uses[0].tensor.nbytes for uses in lowered.packings.values())
    done = 0

    def count(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        if progress is not None:
            progress(done, total)

    return count
