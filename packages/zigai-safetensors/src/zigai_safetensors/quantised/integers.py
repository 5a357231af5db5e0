"""Weights of integers with a scale and a zero point for each group of inputs, as blocks of 32.

The weight is `(q - z) * s`. It becomes, with the block types of ggml (`contracts.dtypes.dequantize`):

- 4 bits, zero points 8: Q4_0 with d = s, without an error;
- 4 bits, other zero points: Q4_1 with d = s and m = -z * s, rounded to float16. The error, at most 2^-11 of
  `|z * s|`, is of the size of the rounding of the float16 values that AWQ and GPTQ themselves compute with;
- 8 bits, zero points 128: Q8_0 with d = s, without an error.

Scales are float16 in blocks. One in BF16 or F32 is rounded to float16, to nearest even. In the normal range
of float16, 2^-14 to 65504, the error is at most 2^-11 of it, and one of BF16 is exact; below, as of channels
that are all but zero, at most 2^-25. Larger ones are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import ComputedTensor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors.quantised.parts import VERSION, check_row

BLOCK = 32
_CHUNK = 1 << 20
"""Elements that are computed at a time."""

Rows = Callable[[int, int], NDArray[np.uint8]]
"""The integers of some rows: uint8 [rows, inputs], or [rows, groups] for zero points."""


@dataclass(frozen=True)
class Integers:
    """A weight of packed integers. Rows are outputs."""

    name: str
    where: str
    """Begins error texts: the folder and the module."""
    shape: tuple[int, int]
    bits: int
    group: int
    """Inputs that share a scale; a multiple of 32, or all."""
    levels: Rows
    """The integers q, without sign."""
    scales: Callable[[int, int], NDArray[np.float32]]
    """The scales s of some rows: float32 [rows, groups]."""
    zeros: Rows | None
    """The zero points z; None if all are in the middle."""
    centred: Callable[[], bool]
    """Reads the zero points: true if all are in the middle, which is 8 for 4 bits and 128 for 8."""
    sources: Sequence[TensorInfo]
    how: str

    def check(self) -> None:
        """Raises `UnsupportedError` unless rows and groups are whole blocks."""
        width = self.shape[1]
        check_row(width, self.where)
        if width % BLOCK:
            raise UnsupportedError(
                f"{self.where}: rows have {width} elements; only multiples of {BLOCK} are supported: look "
                "for a GGUF file of the model"
            )
        if self.group % BLOCK and self.group < width:
            raise UnsupportedError(
                f"{self.where}: groups have {self.group} elements; only multiples of {BLOCK} and whole rows "
                "are supported: look for a GGUF file of the model"
            )


def block_tensors(integers: Sequence[Integers]) -> list[ComputedTensor]:
    """Returns the tensors of a model's weights. All of 4 bits have one type, so that experts can be joined.

    Raises `UnsupportedError` for 8 bits with zero points that are not in the middle.
    """
    for each in integers:
        each.check()
        if each.bits == 8 and not each.centred():
            raise UnsupportedError(
                f"{each.where}: 8 bits with zero points other than 128 are not supported: look for the model "
                "without quantisation, or for a GGUF file of it"
            )
    four = "Q4_0" if all(each.centred() for each in integers if each.bits == 4) else "Q4_1"
    return [_tensor(each, four if each.bits == 4 else "Q8_0") for each in integers]


def _tensor(of: Integers, kind: str) -> ComputedTensor:
    width = of.shape[1]
    blocks = width // BLOCK
    nbytes = DTYPES[kind].block_bytes
    step = max(1, _CHUNK // width)

    def compute(start: int, stop: int) -> NDArray[np.uint8]:
        out = np.empty((stop - start, blocks, nbytes), np.uint8)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            target = out[first - start : last - start]
            levels = of.levels(first, last).reshape(-1, blocks, BLOCK)
            d = _float16(of.scales(first, last), of)
            target[:, :, 0:2] = _bytes(_by_block(d, of, blocks))
            if kind == "Q8_0":
                target[:, :, 2:] = levels ^ 0x80  # q - 128 in two's complement
                continue
            target[:, :, nbytes - 16 :] = levels[:, :, :16] | levels[:, :, 16:] << 4
            if kind == "Q4_1":
                z = np.full(d.shape, 8, np.uint8) if of.zeros is None else of.zeros(first, last)
                target[:, :, 2:4] = _bytes(_by_block(_minimum(z, d, of), of, blocks))
        return out.reshape(-1)

    how = f"{of.how}, {of.bits} bits in groups of {of.group}, to {kind}, version {VERSION}"
    return ComputedTensor(of.name, of.shape, DTYPES[kind], of.sources, compute, how)


def _by_block(values: NDArray[np.float16], of: Integers, blocks: int) -> NDArray[np.float16]:
    """The values of groups [rows, groups] as values of blocks [rows, blocks]. The last group may be short."""
    times = min(-(-of.group // BLOCK), blocks)
    return np.repeat(values, times, axis=1)[:, :blocks]


def _bytes(values: NDArray[np.float16]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values, "<f2").view(np.uint8).reshape(*values.shape, 2)


def _float16(scales: NDArray[np.float32], of: Integers) -> NDArray[np.float16]:
    """The scales as float16. Raises `FormatError` or `UnsupportedError` for those that it cannot hold."""
    if not np.isfinite(scales).all():
        raise FormatError(f"{of.where}: a scale is infinite or NaN: the file is damaged; download it again")
    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
    wrong = np.isinf(half)
    if wrong.any():
        raise UnsupportedError(
            f"{of.where}: the scale {quote(scales[wrong][0])} of {quote(of.name)} is beyond the range of "
            "float16, in which blocks keep scales: look for the model without quantisation, or for a GGUF "
            "file of it"
        )
    return half


def _minimum(zeros: NDArray[np.uint8], d: NDArray[np.float16], of: Integers) -> NDArray[np.float16]:
    """-z * s of each group. The product is exact in float32; if it is below 2^-14, it is exact in float16."""
    with np.errstate(over="ignore"):
        m = (-(zeros.astype(np.float32) * d)).astype(np.float16)
    if np.isinf(m).any():
        raise UnsupportedError(
            f"{of.where}: a zero point times its scale is beyond the range of float16, in which blocks keep "
            "it: look for the model without quantisation, or for a GGUF file of it"
        )
    return m


def group_count(width: int, group: int) -> int:
    """Groups of a row. The last may be short."""
    return -(-width // group)


def transposed_scales(tensor: TensorInfo) -> Callable[[int, int], NDArray[np.float32]]:
    """The scales of some rows, of a tensor [groups, rows]."""
    groups, rows = tensor.shape
    size = tensor.dtype.block_bytes

    def of(start: int, stop: int) -> NDArray[np.float32]:
        some = np.ascontiguousarray(tensor.data.reshape(groups, rows, size)[:, start:stop])
        return tensor.dtype.to_float32(some.reshape(-1), (groups, stop - start)).T

    return of
