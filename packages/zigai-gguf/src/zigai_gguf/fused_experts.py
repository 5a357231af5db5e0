"""Gate and up of experts that are stored in one tensor, as two tensors.

Source: llama.cpp (`ffn_gate_up_exps`), whose converter writes Gemma 4's experts so, and those of other models
if it is asked to: `[experts, 2 · hidden, width]`, of each expert the rows of the gate first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import ComputedTensor, TensorInfo
from zigai_core.contracts.errors import FormatError, quote

_FUSED = re.compile(r"(blk\.\d{1,5}\.ffn)_gate_up_exps\.weight")


def split_experts(tensors: Mapping[str, TensorInfo], path: Path) -> Mapping[str, TensorInfo]:
    """Returns the tensors with each `blk.0.ffn_gate_up_exps.weight` as `ffn_gate_exps` and `ffn_up_exps`.

    Nothing is copied before the rows are asked for. Raises `FormatError` for one that is no stack of matrices
    of an even number of rows, and if a file has both forms.
    """
    split: dict[str, TensorInfo] = {}
    for name, tensor in tensors.items():
        found = _FUSED.fullmatch(name)
        if found is None:
            split[name] = tensor
            continue
        if len(tensor.shape) != 3 or tensor.shape[1] % 2:
            raise FormatError(
                f"{path}: {quote(name)} has shape {tensor.shape}, but must hold for each expert as many rows "
                "of its gate as of its other half"
            )
        for half, part in enumerate(("gate", "up")):
            other = f"{found[1]}_{part}_exps.weight"
            if other in tensors:
                raise FormatError(f"{path}: holds {quote(other)}, and {quote(name)}, too")
            split[other] = _half(other, tensor, half)
    return split


def _half(name: str, tensor: TensorInfo, half: int) -> TensorInfo:
    """The first or the second half of the rows of each expert."""
    experts, both, width = tensor.shape
    count = both // 2
    return ComputedTensor(
        name, (experts, count, width), tensor.dtype, [tensor], _rows_of(tensor, half), f"half {half} of rows"
    )


def _rows_of(tensor: TensorInfo, half: int) -> Callable[[int, int], NDArray[np.uint8]]:
    """The function that returns the bytes of some rows of a half, an expert's after the other's."""
    both = tensor.shape[1]
    count = both // 2

    def rows(start: int, stop: int) -> NDArray[np.uint8]:
        pieces = []
        while start < stop:
            expert, first = divmod(start, count)
            end = min(count, first + stop - start)
            place = expert * both + half * count
            pieces.append(tensor.copy_rows(place + first, place + end))
            start += end - first
        return np.concatenate(pieces) if pieces else np.empty(0, np.uint8)

    return rows
