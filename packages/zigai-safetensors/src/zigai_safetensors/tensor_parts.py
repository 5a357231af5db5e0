"""Tensors of GGUF that are made of one of a folder: slices, other orders of elements, computed ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import ComputedTensor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, PluginError, UnsupportedError, quote
from zigai_core.contracts.huggingface import TensorPart
from zigai_safetensors.folder import CONFIG

Elements = np.ndarray[Any, Any]
_ROWS = 4096
"""Rows that are gathered at a time."""


def for_type(parts: Sequence[tuple[TensorPart, str]], dtype: str) -> list[tuple[TensorPart, str]]:
    """Returns the parts of a tensor of this type, with their names: those for the type alone, if any."""
    own = [each for each in parts if each[0].stored == dtype]
    return own or [each for each in parts if each[0].stored is None]


def with_sizes(part: TensorPart, config: Mapping[str, Any], folder: Path) -> TensorPart:
    """Returns the part with the values of its `sizes`. Raises `FormatError` for one that is no size."""
    values = [config.get(key) for key in part.sizes]
    for key, value in zip(part.sizes, values, strict=True):
        if type(value) is not int or not 1 <= value < 1 << 31:
            raise FormatError(
                f"{folder / CONFIG}: {key} is {quote(value)}, but must be a whole number of at least 1, by "
                f"which {part.name} is made"
            )
    if not values:
        return part
    return replace(part, change=lambda array: part.change(array, *values), sizes=())


def part_of(tensor: TensorInfo, part: TensorPart, name: str, folder: Path) -> TensorInfo:
    """Returns the part of a tensor, as the tensor `name`; its bytes are computed when they are read.

    Raises `FormatError` for a tensor whose shape has no such part, `UnsupportedError` for a quantised one of
    which the part is more than some of its rows, and `PluginError` if the family's function fails otherwise.
    """
    where = f"{folder}: tensor {quote(tensor.name)}"
    if part.each and len(tensor.shape) < 2:
        raise FormatError(f"{where}: its shape {tensor.shape} is none of a stack, as {part.name} needs it")
    if part.computes:
        return _computed(tensor, part, name, where)
    rows = _rows_of(tensor, part, where)
    if rows is not None:
        return _gathered(tensor, part, name, rows)
    if tensor.dtype.block_size != 1:
        raise UnsupportedError(
            f"{where}: {tensor.dtype.name} is not supported for {name}, whose rows are no rows of it: use a "
            "folder that is not quantised"
        )
    return _rearranged(tensor, part, name, where)


def _change(part: TensorPart, array: Elements, where: str) -> Elements:
    """The part of an array, or of each of its entries along the first axis."""
    try:
        found: Any = np.stack([part.change(entry) for entry in array]) if part.each else part.change(array)
    except (ValueError, IndexError) as error:
        raise FormatError(f"{where}: its shape {array.shape} does not fit the model: {error}") from None
    except Exception as error:  # a plugin may fail in any way
        raise PluginError(
            f"{where}: the family's package fails to take {part.name} from it ({type(error).__name__}: "
            f"{error}): update it"
        ) from error
    if not isinstance(found, np.ndarray) or found.ndim == 0 or found.size == 0:
        raise FormatError(f"{where}: its shape {array.shape} holds no {part.name}")
    return np.asarray(found)


def _rows_of(tensor: TensorInfo, part: TensorPart, where: str) -> NDArray[np.int64] | None:
    """The numbers of the rows that make the part, in its shape with a last axis of 1; else None.

    It is one of rows if two columns of numbers stay together wherever they go.
    """
    leading = tensor.shape[:-1]
    if not leading or tensor.shape[-1] < 3:
        return None
    numbers = np.arange(2 * math.prod(leading)).reshape(*leading, 2)
    try:
        found = _change(part, numbers, where)
    except FormatError:
        return None  # the function looks at the last axis, too
    if found.shape[-1] != 2 or (found[..., 0] % 2).any() or (found[..., 0] + 1 != found[..., 1]).any():
        return None
    return np.asarray(found[..., :1] // 2)


def _gathered(tensor: TensorInfo, part: TensorPart, name: str, rows: NDArray[np.int64]) -> ComputedTensor:
    flat = rows.reshape(-1)
    nbytes = tensor.dtype.nbytes(tensor.shape[-1:])

    def compute(start: int, stop: int) -> NDArray[np.uint8]:
        wanted = flat[start:stop]
        out = np.empty((len(wanted), nbytes), np.uint8)
        ends = [*(np.flatnonzero(np.abs(np.diff(wanted)) > 2) + 1).tolist(), len(wanted)]
        first = 0
        for end in ends:  # runs of rows that lie near each other, such as every second one
            for begin in range(first, end, _ROWS):
                rows = wanted[begin : min(end, begin + _ROWS)]
                low, high = int(rows.min()), int(rows.max()) + 1
                found = tensor.copy_rows(low, high).reshape(-1, nbytes)
                out[begin : begin + len(rows)] = found[rows - low]
            first = end
        return out.reshape(-1)

    shape = (*rows.shape[:-1], tensor.shape[-1])
    return ComputedTensor(name, shape, tensor.dtype, [tensor], compute, f"the part {part.name}")


def _rearranged(tensor: TensorInfo, part: TensorPart, name: str, where: str) -> ComputedTensor:
    stored = np.dtype(f"<u{tensor.dtype.nbytes((1,))}")
    like = np.broadcast_to(np.zeros((), stored), tensor.shape)
    if part.each:
        one = _change(TensorPart(part.name, part.change), like[0], where).shape
        shape = (tensor.shape[0], *one)
    else:
        shape = _change(part, like, where).shape
    inner, rows = (tensor.shape[1:], math.prod(shape[1:-1])) if part.each else (tensor.shape, 0)

    def compute(start: int, stop: int) -> NDArray[np.uint8]:
        if not part.each:
            array = tensor.copy_rows(0, math.prod(tensor.shape[:-1])).view(stored).reshape(inner)
            found = np.ascontiguousarray(_change(part, array, where)).reshape(-1, shape[-1])
            return found[start:stop].reshape(-1).view(np.uint8)
        first, last = start // rows, -(-stop // rows)
        height = math.prod(inner[:-1])
        array = tensor.copy_rows(first * height, last * height).view(stored).reshape(-1, *inner)
        found = np.ascontiguousarray(_change(part, array, where)).reshape(-1, shape[-1])
        return found[start - first * rows : stop - first * rows].reshape(-1).view(np.uint8)

    return ComputedTensor(name, shape, tensor.dtype, [tensor], compute, f"the part {part.name}")


def _computed(tensor: TensorInfo, part: TensorPart, name: str, where: str) -> ComputedTensor:
    """A part whose numbers are others, as float32; it is computed whole, so it should be small."""
    if tensor.dtype.dequantize is None:
        raise UnsupportedError(f"{where}: {tensor.dtype.name} is not supported for {name}")

    def whole() -> Elements:
        with np.errstate(all="ignore"):
            return _change(part, tensor.to_float32(), where)

    like = np.broadcast_to(np.zeros((), np.float32), tensor.shape)
    with np.errstate(all="ignore"):
        shape = _change(part, like, where).shape

    def compute(start: int, stop: int) -> NDArray[np.uint8]:
        found = np.ascontiguousarray(whole(), "<f4").reshape(-1, shape[-1])[start:stop]
        return found.reshape(-1).view(np.uint8)

    return ComputedTensor(name, shape, DTYPES["F32"], [tensor], compute, f"the part {part.name}, computed")
