"""One operation of a lowered graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.graph import TOKENS
from zigai_core.contracts.state import State
from zigai_kernels.packing import Packing


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
    """Of STORE and ATTENTION: the KV cache; None for keys and values that are kept for one step."""
    after: str | None = None
    """The output of a record that must have run before, in addition to those of x and y."""

    @property
    def dtype(self) -> str:
        """The storage type of its weight or cache; "" for neither."""
        return "" if self.operation == "QUANTIZE" or self.storage is None else self.storage
