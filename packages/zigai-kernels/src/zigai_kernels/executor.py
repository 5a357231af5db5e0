"""Executors: the memory in which a program runs."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Batch
from zigai_core.contracts.errors import Cancelled, UnsupportedError, ZigAIError
from zigai_core.contracts.plugins import OperationTime
from zigai_kernels.checks import CheckedBatch, check_batch, check_pairs, check_stop
from zigai_kernels.outputs import NativeOutputs, OutputBuffers
from zigai_kernels.packer import refuse_torn
from zigai_kernels.plan import Plan
from zigai_kernels.pool import pool_of


class NativeExecutor:
    """Pages of KV caches, slots of recurrent states, and scratch memory.

    Its threads are the process's (`Pool`). Steps of all executors of a process take turns. See
    `zigai_core.contracts.plugins.Executor`.
    """

    def __init__(self, plan: Plan, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes
        self._plan = plan
        self._process = os.getpid()
        self._pool = pool_of(plan.module)
        self._pool.grow(plan.threads)
        ffi, lib = plan.ffi, plan.lib
        self._native = lib.zg_executor_new(plan.native, list(sizes), plan.threads)
        if self._native == ffi.NULL:
            nbytes = sum(n * size for n, size in zip(plan.state_bytes, sizes, strict=True))
            raise UnsupportedError(
                f"not enough memory for a cache of {nbytes:,} bytes and {plan.scratch_bytes:,} bytes of "
                "scratch: use a smaller context, budget or batch, or raise the limit (ulimit -v)"
            )
        lib.zg_guard()
        # Nothing is freed at exit, because a daemon thread may still be computing.
        weakref.finalize(self, lib.zg_executor_free, self._native).atexit = False
        self._step = ffi.new("zg_step *")
        self._tables = ffi.new("zg_tables[]", len(sizes) + plan.graph.whole_sequences)
        self._step.tables = self._tables
        self._slots = ffi.new("zg_slots *")
        self._outputs = OutputBuffers(plan)
        self._step.outputs = self._outputs.pointers
        self._nanoseconds: NDArray[np.int64] | None = None
        self._raised: list[BaseException] = []
        self._handle = ffi.new_handle(self._raised)
        self._step.interrupted_argument = self._handle

    def run(self, batch: Batch, stop: NDArray[np.int32]) -> NativeOutputs:
        """Compute one step; see `zigai_core.contracts.plugins.Executor`.

        `ShapeError` or `ContextOverflowError` for a batch that does not fit, `Cancelled` after `stop` was
        set, `ZigAIError` in a forked process, or in a signal handler that interrupts a step of any executor.
        In the main thread, an exception of a signal handler (`KeyboardInterrupt`) ends the step at once.
        """
        self._check_process()
        check_stop(stop)
        checked = check_batch(batch, self._plan, self.sizes)
        pool = self._pool
        with pool.turn:
            pool.check_outside()
            try:
                pool.inside = True
                outputs = self._outputs.begin(len(checked.wanted))
                status = self._call(checked, stop)
            finally:
                pool.inside = False
        if self._plan.lib.zg_torn():
            refuse_torn(self._plan.tensors)
        if status == self._plan.lib.ZG_CANCELLED:
            raise Cancelled("the step was cancelled; its results are discarded")
        return outputs

    def copy(self, group: int, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy whole pages or slots of a group, for each pair `(from, to)` in turn.

        `ShapeError` for a group, a page or a slot that the executor does not have.
        """
        self._check_process()
        checked = check_pairs(group, pairs, self.sizes)
        data = self._plan.ffi.from_buffer("int32_t[]", checked)
        with self._pool.turn:
            self._pool.check_outside()
            self._plan.lib.zg_copy_pages(self._native, group, data, len(checked))

    def start_profile(self) -> None:
        """Measure the time of each record from now on, from zero. This reads the clock for every chunk."""
        with self._pool.turn:
            self._pool.check_outside()
            self._nanoseconds = np.zeros(len(self._plan.records), np.int64)
            self._step.nanoseconds = self._plan.ffi.from_buffer("int64_t[]", self._nanoseconds)

    def profile(self) -> Sequence[OperationTime]:
        """Seconds of each record. A stage's time is divided in proportion to the threads' work on each."""
        if self._nanoseconds is None:
            return []
        return [
            OperationTime(record.operation.lower(), record.output, record.dtype, float(count) / 1e9)
            for record, count in zip(self._plan.records, self._nanoseconds, strict=True)
        ]

    def _call(self, checked: CheckedBatch, stop: NDArray[np.int32]) -> int:
        ffi, step = self._plan.ffi, self._step

        def ints(array: NDArray[np.int32]) -> Any:
            return ffi.from_buffer("int32_t[]", array)

        for target, (pages, starts) in zip(self._tables, checked.tables, strict=False):
            target.pages, target.starts = ints(pages), ints(starts)
        step.slots = ffi.NULL
        if checked.slots is not None:
            found, target = checked.slots, self._slots
            target.sequences, target.starts = len(found.reads), ints(found.starts)
            target.rows, target.reads = ints(found.rows), ints(found.reads)
            target.write_starts, target.writes = ints(found.write_starts), ints(found.writes)
            step.slots = target
        step.tokens, step.wanted, step.section_rows = (
            len(checked.tokens),
            len(checked.wanted),
            checked.section_rows,
        )
        step.ids, step.sequences, step.index = (
            ints(checked.tokens),
            ints(checked.sequences),
            ints(checked.index),
        )
        step.ends = ffi.NULL if checked.ends is None else ints(checked.ends)
        step.types = ffi.NULL if checked.types is None else ints(checked.types)
        step.replaced = step.embeddings = ffi.NULL
        if checked.replaced is not None and checked.embeddings is not None:
            step.replaced = ints(checked.replaced)
            step.embeddings = ffi.from_buffer("float[]", checked.embeddings)
        step.positions, step.wanted_rows = ints(checked.positions), ints(checked.wanted)
        step.stop, step.peaks = ints(stop), self._outputs.peaks_pointer
        # Python handles signals only in the main thread.
        main = threading.current_thread() is threading.main_thread()
        step.interrupted = self._plan.lib.zg_interrupted if main else ffi.NULL
        status = int(self._plan.lib.zg_run(self._pool.native, self._native, step))
        if self._raised:
            raise self._raised.pop()
        return status

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise ZigAIError(
                f"this executor belongs to process {self._process}, and a forked process does not have its "
                "threads; make a new one with program.new_executor()"
            )
