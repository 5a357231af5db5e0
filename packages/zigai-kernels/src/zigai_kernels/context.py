"""Contexts: the memory and threads in which a program runs."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Batch
from zigai_core.contracts.errors import Cancelled, UnsupportedError, ZigAIError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.plugins import OperationTime
from zigai_kernels.checks import check_batch, check_pages
from zigai_kernels.plan import Plan


class NativeContext:
    """KV cache pages, scratch memory and threads of a program. Runs one call at a time."""

    def __init__(self, plan: Plan, pages: int) -> None:
        self.pages = pages
        self._plan = plan
        self._process = os.getpid()
        self._busy = threading.Lock()
        ffi, lib = plan.ffi, plan.lib
        self._native = lib.zg_context_new(plan.native, pages, plan.threads)
        if self._native == ffi.NULL:
            raise UnsupportedError(
                f"no memory or threads for a context: {plan.page_bytes * pages} bytes of cache, "
                f"{plan.scratch_bytes} bytes of scratch, {plan.threads} threads; "
                "use a smaller context, batch or number of threads"
            )
        # Nothing is freed at exit, because a daemon thread may still be computing.
        weakref.finalize(self, _free, plan, self._native, self._process).atexit = False
        self._step = ffi.new("zg_step *")
        self._outputs = ffi.new("float *[]", max(1, len(plan.widths)))
        self._step.outputs = self._outputs
        self._nanoseconds: NDArray[np.int64] | None = None
        self._raised: list[BaseException] = []
        self._handle = ffi.new_handle(self._raised)
        self._step.interrupted_argument = self._handle

    def run(self, batch: Batch) -> Mapping[str, Array]:
        """Compute one step; see `zigai_core.contracts.plugins.Context`.

        `ShapeError` or `ContextOverflowError` for a batch that does not fit, `Cancelled` after `cancel`,
        `ZigAIError` during another call or in a forked process. In the main thread, an exception of a signal
        handler (`KeyboardInterrupt`) ends the step at once.
        """
        plan = self._plan
        checked = check_batch(batch, plan.options, self.pages, plan.vocabulary)
        with self._exclusive():
            arrays = {
                name: np.empty((len(checked.wanted), width), np.float32)
                for name, width in plan.widths.items()
            }
            status = self._call(checked, list(arrays.values()))
        if status == plan.lib.ZG_CANCELLED:
            raise Cancelled("the step was cancelled; its results are discarded")
        # A value with several output names is computed once, but each output is a separate array.
        taken: set[str] = set()
        outputs: dict[str, Array] = {}
        for name, value in plan.outputs.items():
            outputs[name] = arrays[value].copy() if value in taken else arrays[value]
            taken.add(value)
        return outputs

    def copy_pages(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy whole pages of every layer, for each pair `(from, to)` in turn.

        `ShapeError` for a page that the context does not have.
        """
        if not pairs:
            return
        check_pages(pairs, self.pages)
        with self._exclusive():
            for source, target in pairs:
                self._plan.lib.zg_copy_page(self._native, source, target)

    def cancel(self) -> None:
        """End the current step and all later ones with `Cancelled`, until `resume`. From any thread."""
        self._plan.lib.zg_cancel(self._native, 1)

    def resume(self) -> None:
        """Let steps run again. From any thread."""
        self._plan.lib.zg_cancel(self._native, 0)

    def start_profile(self) -> None:
        """Measure the time of each record from now on, from zero. This reads the clock for every chunk."""
        with self._exclusive():
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

    def _call(self, checked: Any, outputs: list[Array]) -> int:
        ffi, step = self._plan.ffi, self._step
        kept = [ffi.from_buffer("int32_t[]", array) for array in checked]
        step.tokens, step.wanted = len(checked.tokens), len(checked.wanted)
        step.ids, step.positions, step.sequences, step.wanted_rows, step.pages, step.page_starts = kept
        results = [ffi.from_buffer("float[]", array, require_writable=True) for array in outputs]
        for i, result in enumerate(results):
            self._outputs[i] = result
        # Python handles signals only in the main thread.
        main = threading.current_thread() is threading.main_thread()
        step.interrupted = self._plan.lib.zg_interrupted if main else ffi.NULL
        status = int(self._plan.lib.zg_run(self._native, step))
        if self._raised:
            raise self._raised.pop()
        return status

    def _exclusive(self) -> _Exclusive:
        if os.getpid() != self._process:
            raise ZigAIError(
                f"this context belongs to process {self._process}, and a forked process does not have its "
                "threads; make a new one with program.new_context()"
            )
        return _Exclusive(self._busy)


class _Exclusive:
    """Holds a lock; `ZigAIError` in place of waiting if another call holds it."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise ZigAIError("this context is running in another thread; make one context for each thread")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _free(plan: Plan, native: Any, process: int) -> None:
    plan.lib.zg_context_free(native, int(os.getpid() != process))
