"""The layout `mxfp4` of gpt-oss: experts in blocks of 32 elements of four bits (E2M1) with a power of two.

`X_blocks` is U8 [..., o, i / 32, 16] and `X_scales` U8 [..., o, i / 32]. Byte j of a block holds elements 2j,
in its low half, and 2j + 1; the value is `E2M1 * 2^(scale - 127)`: transformers, integrations/mxfp4,
`convert_moe_packed_tensors`. ggml's MXFP4 holds elements j and j + 16 in byte j, and has the same scale, with
twice the values times `2^(scale - 128)` (`block_mxfp4`, `dequantize_row_mxfp4` in
https://github.com/ggml-org/ggml), so blocks are rearranged and no number changes. A scale of 255 is NaN (OCP
Microscaling Formats 1.0, 5.4.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import ComputedTensor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, quote
from zigai_safetensors.quantised.parts import VERSION, add_unique, check_row
from zigai_safetensors.quantised.settings import WITHOUT_EFFECT, Settings, check_excluded

_BLOCKS, _SCALES = "_blocks", "_scales"
_CHUNK = 1 << 14
"""Blocks that are rearranged at a time."""


def read(stored: Mapping[str, TensorInfo], settings: Settings, folder: Path) -> dict[str, TensorInfo]:
    """Returns the tensors with each `X_blocks` and `X_scales` as one tensor `X` of type MXFP4 [..., o, i]."""
    settings.check((), WITHOUT_EFFECT)
    tensors: dict[str, TensorInfo] = {}
    quantised = []
    for name, tensor in stored.items():
        end = next((end for end in (_BLOCKS, _SCALES) if name.endswith(end)), None)
        if end is None:
            add_unique(tensors, tensor, folder)
            continue
        base = name.removesuffix(end)
        other = base + (_SCALES if end == _BLOCKS else _BLOCKS)
        if other not in stored:
            raise FormatError(
                f"{folder}: holds {quote(name)}, but no {quote(other)}: the weight is not complete"
            )
        if end == _BLOCKS:
            quantised.append(base)
            add_unique(tensors, _joined(base, tensor, stored[other], folder), folder)
    check_excluded(quantised, settings, "modules_to_not_convert")
    return tensors


def _joined(name: str, blocks: TensorInfo, scales: TensorInfo, folder: Path) -> ComputedTensor:
    where = f"{folder}: tensor {quote(name)}"
    for part in (blocks, scales):
        if part.dtype.name != "U8":
            raise FormatError(f"{where}: {quote(part.name)} is {part.dtype.name}, but must be U8")
    if len(blocks.shape) < 3 or blocks.shape != (*scales.shape, 16):
        raise FormatError(
            f"{where}: its blocks have shape {blocks.shape} and its scales {scales.shape}; needed are [..., "
            "o, n, 16] and [..., o, n]"
        )
    count = scales.shape[-1]
    check_row(32 * count, where)

    def compute(start: int, stop: int) -> NDArray[np.uint8]:
        # Rows of the scales are rows of the tensor; a row of the blocks is one block of 16 bytes.
        of_rows = scales.copy_rows(start, stop)
        if (of_rows == 255).any():
            raise FormatError(f"{where}: a scale is NaN: the file is damaged; download it again")
        packed = blocks.copy_rows(start * count, stop * count).reshape(-1, 16)
        out = np.empty((len(packed), 17), np.uint8)
        out[:, 0] = of_rows
        for first in range(0, len(packed), _CHUNK):
            part = packed[first : first + _CHUNK]
            low, high = part[:, :8], part[:, 8:]  # elements 0 to 15, and 16 to 31
            target = out[first : first + _CHUNK, 1:]
            target[:, 0::2] = low & 15 | high << 4
            target[:, 1::2] = low >> 4 | high & 0xF0
        return out.reshape(-1)

    shape = (*scales.shape[:-1], 32 * count)
    how = f"MXFP4 in the order of ggml, version {VERSION}"
    return ComputedTensor(name, shape, DTYPES["MXFP4"], (blocks, scales), compute, how)
