"""One operation of a lowered graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.graph import TOKENS
from zigai_core.contracts.state import State
from zigai_kernels.packing import Packing

RECURRENT = frozenset({"SHORT_CONV", "GATED_DELTA", "SELECTIVE_SCAN"})
"""Operations with a recurrent state."""


@dataclass(frozen=True, eq=False)
class Record:
    """A `zg_record` without addresses: operands by name, `numbers` by the names of the C fields."""

    operation: str
    output: str
    x: str | None = None
    y: str | None = None
    rows: str = TOKENS
    width: int = 0
    weight: Packing | NDArray[np.float32] | None = None
    bias: Packing | NDArray[np.float32] | None = None
    storage: str | None = None
    """The storage type of the weight or cache; of QUANTIZE, that of the weights that read its output."""
    mode: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    sections: NDArray[np.int32] | None = None
    state: State | None = None
    """The state; None of ATTENTION over the step's own keys and values."""
    after: str | None = None
    """The output of a record that must have run before, in addition to those of x, y and more."""
    more: tuple[str, ...] = ()
    """Further operands."""

    @property
    def operands(self) -> tuple[str, ...]:
        """The names of its operands."""
        return (*(name for name in (self.x, self.y) if name is not None), *self.more)

    @property
    def dtype(self) -> str:
        """The storage type of its weight or cache; "" for neither."""
        return "" if self.operation == "QUANTIZE" or self.storage is None else self.storage


def in_place(records: Iterable[Record]) -> dict[str, str]:
    """The outputs of INPUTS that lie in the memory of their operand, in order: from output to operand.

    It is those whose operand nothing else reads. They cost nothing then in a step without embeddings.
    """
    records = list(records)
    readers = Counter(name for record in records for name in record.operands)
    return {
        record.output: record.x
        for record in records
        if record.operation == "INPUTS" and record.x is not None and readers[record.x] == 1
    }
