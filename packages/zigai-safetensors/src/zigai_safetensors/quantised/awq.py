"""The layout `awq`, version gemm: integers of four bits, packed along the outputs.

`qweight` is I32 [i, o / 8], `qzeros` I32 [i / g, o / 8] and `scales` [i / g, o]. The eight places of a word,
from the lowest bits on, hold the outputs 0, 2, 4, 6, 1, 3, 5, 7; the weight is `(q - z) * s`:
`WQLinear_GEMM.from_linear` and `dequantize_gemm` of https://github.com/casper-hansen/AutoAWQ
(modules/linear/gemm.py, utils/packing_utils.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo, kept_copy
from zigai_core.contracts.errors import FormatError
from zigai_safetensors.quantised.integers import Integers, block_tensors, group_count, transposed_scales
from zigai_safetensors.quantised.parts import SCALES, Parts, add_unique, collect
from zigai_safetensors.quantised.settings import WITHOUT_EFFECT, Settings, check_excluded
from zigai_safetensors.quantised.words import all_are, repeated, unpacked, words

PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""The place in its word of each of eight outputs."""

USED = (
    "bits",
    "group_size",
    "zero_point",
    "version",
    "format",
    "checkpoint_format",
    "desc_act",
    "pack_dtype",
)
UNUSED = {
    **WITHOUT_EFFECT,
    "sym": "the zero points are read",
    "backend": "which kernels other programs use",
    "method": "the same as quant_method",
    "do_fuse": "how other programs compute",
    "fuse_max_seq_len": "how other programs compute",
    "modules_to_fuse": "how other programs compute",
    "exllama_config": "how other programs compute",
    "lm_head": "the files show whether it is quantised",
    "meta": "how the weights were made",
    "damp_percent": "how the weights were made",
    "true_sequential": "how the weights were made",
    "act_group_aware": "how the weights were made",
    "batch_size": "how the weights were made",
    "cache_block_outputs": "how the weights were made",
}


def read(stored: Mapping[str, TensorInfo], settings: Settings, folder: Path) -> dict[str, TensorInfo]:
    """Returns the tensors with each `qweight` and its other parts as one: Q4_0, or Q4_1 (`integers`)."""
    settings.check(USED, UNUSED)
    settings.one_of("bits", (4,), 4)
    settings.one_of("desc_act", (False,), False)
    settings.one_of("pack_dtype", ("int32",), "int32")
    for key in ("version", "format", "checkpoint_format"):
        settings.one_of(key, ("gemm",), "gemm")
    group = settings.group_size(128)
    with_zeros = settings.flag("zero_point", True)
    modules, tensors = collect(stored, ("qweight", "qzeros", "scales"), folder)
    check_excluded([parts.module for parts in modules], settings, "modules_to_not_convert")
    for weight in block_tensors([_integers(parts, group, with_zeros) for parts in modules]):
        add_unique(tensors, weight, folder)
    return tensors


def _integers(parts: Parts, group: int, with_zeros: bool) -> Integers:
    packed = kept_copy(parts.matrix("qweight", "I32"))
    width, columns = packed.shape
    rows = 8 * columns
    group = width if group == -1 else group
    groups = group_count(width, group)
    scales = kept_copy(parts.shaped("scales", (groups, rows), *SCALES))
    sources = [packed, scales]
    points = None
    if with_zeros or "qzeros" in parts.found:
        points = kept_copy(parts.shaped("qzeros", (groups, columns), "I32"))
        sources.append(points)
    middle = repeated(8, 4)
    if points is not None and not with_zeros and not all_are(points, middle):
        raise FormatError(f"{parts.where}: zero_point is false, but qzeros holds others than 8")

    def integers(tensor: TensorInfo, start: int, stop: int) -> NDArray[np.uint8]:
        first, last = start // 8, -(-stop // 8)
        found = unpacked(words(tensor)[:, first:last], 4).reshape(-1, last - first, 8)[:, :, PLACES]
        return found.reshape(len(found), -1)[:, start - 8 * first : stop - 8 * first].T

    def zeros(start: int, stop: int) -> NDArray[np.uint8]:
        assert points is not None
        return integers(points, start, stop)

    return Integers(
        name=f"{parts.module}.weight",
        where=parts.where,
        shape=(rows, width),
        bits=4,
        group=group,
        levels=lambda start, stop: integers(packed, start, stop),
        scales=transposed_scales(scales),
        zeros=None if points is None else zeros,
        centred=lambda: points is None or all_are(points, middle),
        sources=sources,
        how="awq",
    )
