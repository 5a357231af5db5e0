"""The part of a program that its contexts use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zigai_core.contracts.options import CompileOptions
from zigai_kernels.records import Record


@dataclass(frozen=True, eq=False)
class Plan:
    """A compiled graph in the form that contexts use; `native` is C's `zg_plan`."""

    ffi: Any
    lib: Any
    native: Any
    memory: object
    """References that keep alive what `native` points to: records, stages and packed weights."""
    options: CompileOptions
    threads: int
    vocabulary: int
    scratch_bytes: int
    """Bytes of a step's intermediate values."""
    page_bytes: int
    """Bytes of a page of the KV cache, all layers together."""
    records: tuple[Record, ...]
    widths: Mapping[str, int]
    """The width of each value that is an output, in the order of C's output arrays."""
    outputs: Mapping[str, str]
    """The name of the value of each of the graph's outputs."""
