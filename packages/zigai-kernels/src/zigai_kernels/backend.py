"""The native backend."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Progress
from zigai_core.ops.batch_checks import check_context
from zigai_kernels.checks import check_options
from zigai_kernels.dispatch import choose, load, supported, thread_count
from zigai_kernels.lowering import lower, missing_kernels
from zigai_kernels.program import NativeProgram
from zigai_kernels.quantizing import TYPES, quantize_rows


class NativeBackend:
    """Runs graphs in C with SIMD. See `zigai_core.contracts.plugins.Backend`.

    `instruction_set` (`baseline`, `avx2`, `avx512`) overrides `ZIGAI_CPU`; the default is the fastest of the
    CPU's. `fused=False` makes every operation a stage of its own: the same numbers, more slowly.
    `packed_cache` overrides `ZIGAI_PACKED_CACHE`: a folder that keeps the packed weights, about as large as
    the model, for the next start; None for no folder. `UnsupportedError` for a value of another type.
    """

    name = "native"
    speed = 100
    quantized_types = TYPES

    def __init__(
        self,
        instruction_set: str | None = None,
        *,
        fused: bool = True,
        packed_cache: str | Path | None = None,
    ) -> None:
        for name, value, kind in (
            ("instruction_set", instruction_set, (str, NoneType)),
            ("fused", fused, bool),
            ("packed_cache", packed_cache, (str, Path, NoneType)),
        ):
            if not isinstance(value, kind):
                raise UnsupportedError(f"native backend: {name} cannot be {value!r}")
        self.instruction_set = instruction_set
        self.fused = fused
        folder = packed_cache or os.environ.get("ZIGAI_PACKED_CACHE") or None
        self.packed_cache = None if folder is None else Path(folder)

    def ignored(self, options: CompileOptions) -> Mapping[str, str]:
        """Empty: the backend acts on every option."""
        return {}

    def machine(self) -> Mapping[str, str]:
        """The instruction sets that are built and that the CPU has, the one in use, and the threads."""
        facts = {
            "instruction set": choose(self.instruction_set),
            "built and supported": ", ".join(supported()),
            "threads": str(thread_count()),
        }
        return facts if self.packed_cache is None else {**facts, "packed weights": str(self.packed_cache)}

    def quantize_rows(self, data: NDArray[np.uint8], source: str, dtype: str) -> NDArray[np.uint8]:
        """Encodes rows: see `zigai_core.contracts.plugins.QuantizingBackend`."""
        return quantize_rows(load(choose(self.instruction_set)), data, source, dtype)

    def missing(self, graph: Graph, weights: Mapping[str, TensorInfo]) -> Sequence[str]:
        """Each (operation, storage type) without a kernel, as a line of text."""
        return missing_kernels(graph, weights)

    def compile(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        options: CompileOptions,
        progress: Progress | None = None,
    ) -> NativeProgram:
        """Lower the graph, plan its memory and pack its weights.

        `UnsupportedError` for missing kernels (naming all), an instruction set that this machine lacks, or
        options out of range; `ShapeError` for an inconsistent graph or a tensor that does not fit it.
        """
        missing = missing_kernels(graph, weights)
        if missing:
            raise UnsupportedError(
                "the native backend has no kernel for: " + "; ".join(missing) + ". Use backend='numpy'"
            )
        check_options(options)
        check_context(graph, options.context)
        instruction_set = choose(self.instruction_set)
        lowered = lower(graph, weights, options.kv_dtype, fused=self.fused)
        threads = thread_count(options.threads)
        return NativeProgram(
            graph,
            options,
            lowered,
            load(instruction_set),
            instruction_set,
            threads,
            progress,
            packed_cache=self.packed_cache,
        )
