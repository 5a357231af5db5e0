"""The part of a program that its executors use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.options import CompileOptions
from zigai_kernels.records import Record


@dataclass(frozen=True, eq=False)
class Plan:
    """A compiled graph in the form that executors use; `native` is C's `zg_plan`."""

    module: ModuleType
    ffi: Any
    lib: Any
    native: Any
    memory: object
    """References that keep alive what `native` points to: records, stages and packed weights."""
    graph: Graph
    options: CompileOptions
    threads: int
    vocabulary: int
    sections: int
    """The number of sections of positions that a step needs."""
    scratch_bytes: int
    """Bytes of a step's intermediate values."""
    state_bytes: tuple[int, ...]
    """Bytes of a page or slot of each of the graph's groups."""
    records: tuple[Record, ...]
    widths: Mapping[str, int]
    """The width of each value that is an output, in the order of C's output arrays."""
    outputs: Mapping[str, str]
    """The name of the value of each of the graph's outputs."""
    tensors: tuple[TensorInfo, ...]
    """The tensors of the weights."""
    logits_panels: int
    """Number of panels of a row of logits, of which a step finds the largest logits; 0 if it does not."""
