"""The outputs of a step, and the memory that they are in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.best import Best, Edits
from zigai_core.contracts.errors import ShapeError, ZigAIError
from zigai_core.contracts.graph import Array
from zigai_kernels.best import best
from zigai_kernels.plan import Plan


class OutputBuffers:
    """The arrays of an executor's outputs, which each step reuses; they grow to the largest step so far."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.steps = 0
        """Number of steps begun; outputs of earlier ones are not valid."""
        self.pointers: Any = plan.ffi.new("float *[]", max(1, len(plan.widths)))
        """C's array of the addresses of the buffers, in the order of `Plan.widths`."""
        self._buffers = {name: np.empty((0, width), np.float32) for name, width in plan.widths.items()}
        self._rows = -1
        self._views: dict[str, Array] = {}
        """The rows of the present step in each buffer."""
        self.peaks: Array | None = None
        """The largest logit of each panel: float32 `[rows, panels]`; None if the step does not find them."""
        self.peaks_pointer: Any = plan.ffi.NULL

    def begin(self, rows: int) -> NativeOutputs:
        """The outputs of the step that begins, of this many rows."""
        self.steps += 1
        if rows != self._rows:
            self._resize(rows)
        return NativeOutputs(self, self._views)

    def _resize(self, rows: int) -> None:
        for i, (name, buffer) in enumerate(self._buffers.items()):
            if len(buffer) < rows or not self.pointers[i]:
                buffer = self._buffers[name] = np.empty((max(1, rows), buffer.shape[1]), np.float32)
                self.pointers[i] = self.plan.ffi.from_buffer("float[]", buffer, require_writable=True)
        panels = self.plan.logits_panels
        if panels and (self.peaks is None or len(self.peaks) < rows):
            self.peaks = np.empty((max(1, rows), panels), np.float32)
            self.peaks_pointer = self.plan.ffi.from_buffer("float[]", self.peaks, require_writable=True)
        views = {name: buffer[:rows] for name, buffer in self._buffers.items()}
        for view in views.values():
            view.flags.writeable = False  # `peaks` must stay those of the logits
        self._views = views
        self._rows = rows


class NativeOutputs:
    """Views of an executor's buffers. See `zigai_core.contracts.plugins.Outputs`.

    `ZigAIError` once the executor has begun another step.
    """

    def __init__(self, buffers: OutputBuffers, values: dict[str, Array]) -> None:
        self._buffers = buffers
        self._step = buffers.steps
        self._values = values
        self._named: dict[str, Array] = {}

    def rows(self, name: str) -> Array:
        """An output: float32 `[output rows, width]`. `UnsupportedError` for a name without one."""
        self._check()
        if name not in self._named:
            value = self._buffers.plan.graph.output(name).name
            rows = self._values[value]
            # A value with several names is computed once, but each output is a separate array.
            first = next(n for n, v in self._buffers.plan.outputs.items() if v == value)
            self._named[name] = rows if name == first else rows.copy()
        return self._named[name]

    def best(
        self,
        row: int,
        k: int,
        edits: Edits | None = None,
        mask: NDArray[np.uint32] | None = None,
        *,
        width: int | None = None,
    ) -> Best:
        """The k best of a row of `logits`, computed in C; see `zigai_core.contracts.best.best`."""
        self._check()
        plan = self._buffers.plan
        logits = self._values[plan.graph.output("logits").name]
        if not 0 <= row < len(logits):
            raise ShapeError(f"best: row {row} is outside the step's {len(logits)} output rows")
        peaks = None if self._buffers.peaks is None else self._buffers.peaks[row]
        return best(plan.ffi, plan.lib, logits[row], k, edits, mask, width=width, peaks=peaks)

    def _check(self) -> None:
        if self._buffers.steps != self._step:
            raise ZigAIError("these outputs are no longer valid: their executor has begun another step")
