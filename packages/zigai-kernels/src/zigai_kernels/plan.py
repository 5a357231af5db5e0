"""What a context needs of the program it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zigai_core.contracts.options import CompileOptions
from zigai_kernels.records import Record


@dataclass(frozen=True, eq=False)
class Plan:
    """A compiled graph as contexts see it; `native` is C's `zg_plan`."""

    ffi: Any
    lib: Any
    native: Any
    memory: object
    """Keeps alive what `native` points to: records, stages and packed weights."""
    options: CompileOptions
    threads: int
    vocabulary: int
    scratch_bytes: int
    """Bytes of a step's intermediate values."""
    page_bytes: int
    """Bytes that a page of the cache takes, all layers together."""
    records: tuple[Record, ...]
    widths: Mapping[str, int]
    """The width of each value that is an output, in the order in which C gets them."""
    outputs: Mapping[str, str]
    """The value that each of the graph's outputs is."""
