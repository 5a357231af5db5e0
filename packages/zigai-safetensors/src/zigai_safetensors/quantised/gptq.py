"""The layout `gptq`: integers of four or eight bits, packed along the inputs.

`qweight` is I32 [i * bits / 32, o], `qzeros` I32 [i / g, o * bits / 32], `scales` [i / g, o] and `g_idx` I32
[i], the group of each input. The weight is `(q - z) * s`. `qzeros` holds z - 1, with the checkpoint format
`gptq_v2` z itself: `QuantLinear.pack` of https://github.com/AutoGPTQ/AutoGPTQ (nn_modules/qlinear), and
`convert_gptq_v1_to_v2_format` of https://github.com/ModelCloud/GPTQModel (utils/model.py).

Two things of the format without `v2` are known to be ambiguous. A stored zero point with all bits set stands
for 0, and neighbours may have taken a carry, so that implementations read such words differently
(https://github.com/AutoGPTQ/AutoGPTQ/pull/640): they are refused. And symmetric weights, whose zero points
are in the middle, were written with z in the place of z - 1
(https://github.com/vllm-project/vllm/pull/38966): with `sym`, both are read as the middle, and others are
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo, kept_copy
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors.quantised.integers import Integers, block_tensors, group_count, transposed_scales
from zigai_safetensors.quantised.parts import SCALES, Parts, add_unique, collect
from zigai_safetensors.quantised.settings import WITHOUT_EFFECT, Settings, check_excluded
from zigai_safetensors.quantised.words import all_are, repeated, unpacked, words

USED = ("bits", "group_size", "desc_act", "sym", "checkpoint_format", "format", "pack_dtype")
_MADE = "how the weights were made"
_COMPUTED = "how other programs compute"
UNUSED = {
    **WITHOUT_EFFECT,
    "method": "the same as quant_method",
    "lm_head": "the files show whether it is quantised",
    "modules_in_block_to_quantize": "the files show which weights are quantised",
    "block_name_to_quantize": "the files show which weights are quantised",
    "module_name_preceding_first_block": "the files show which weights are quantised",
    "model_name_or_path": "where the weights came from",
    "model_file_base_name": "where the weights came from",
    "static_groups": "g_idx is read",
    "act_group_aware": "g_idx is read",
    **dict.fromkeys(
        (
            "damp_percent",
            "damp_auto_increment",
            "true_sequential",
            "tokenizer",
            "dataset",
            "batch_size",
            "pad_token_id",
            "cache_block_outputs",
            "model_seqlen",
            "mse",
            "meta",
            "quantizer",
            "hyb_act",
            "v2",
            "v2_alpha",
        ),
        _MADE,
    ),
    **dict.fromkeys(
        (
            "backend",
            "use_cuda_fp16",
            "use_exllama",
            "disable_exllama",
            "exllama_config",
            "max_input_length",
        ),
        _COMPUTED,
    ),
}


def read(stored: Mapping[str, TensorInfo], settings: Settings, folder: Path) -> dict[str, TensorInfo]:
    """Returns the tensors with each `qweight` and its other parts as one: Q4_0, Q4_1 or Q8_0 (`integers`)."""
    settings.check(USED, UNUSED)
    bits: int = settings.one_of("bits", (4, 8))
    settings.one_of("pack_dtype", ("int32",), "int32")
    kinds = {settings.one_of(key, ("gptq", "gptq_v2"), "gptq") for key in _given(settings)} or {"gptq"}
    if len(kinds) > 1:
        raise FormatError(f"{settings.where}: format and checkpoint_format differ")
    group, reordered, symmetric = settings.group_size(), settings.flag("desc_act"), settings.flag("sym")
    offset = 0 if kinds == {"gptq_v2"} else 1
    modules, tensors = collect(stored, ("qweight", "qzeros", "scales", "g_idx"), folder)
    check_excluded([parts.module for parts in modules], settings, "modules_to_not_convert")
    found = [_integers(parts, bits, group, offset, symmetric, reordered) for parts in modules]
    for weight in block_tensors(found):
        add_unique(tensors, weight, folder)
    return tensors


def _given(settings: Settings) -> list[str]:
    return [key for key in ("checkpoint_format", "format") if settings.values.get(key) is not None]


def _integers(parts: Parts, bits: int, group: int, offset: int, symmetric: bool, reordered: bool) -> Integers:
    per_word = 32 // bits
    packed = kept_copy(parts.matrix("qweight", "I32"))
    width, rows = packed.shape[0] * per_word, packed.shape[1]
    group = width if group == -1 else group
    groups = group_count(width, group)
    if rows % per_word:
        raise FormatError(f"{parts.where}: qweight has {rows} columns, but they fill no words of qzeros")
    points = kept_copy(parts.shaped("qzeros", (groups, rows // per_word), "I32"))
    scales = kept_copy(parts.shaped("scales", (groups, rows), *SCALES))
    sources = [packed, scales, points]
    _check_order(parts, width, group, reordered)
    half = 1 << (bits - 1)
    middle = repeated(half - offset, bits)

    def levels(start: int, stop: int) -> NDArray[np.uint8]:
        return unpacked(words(packed)[:, start:stop].T, bits)

    def zeros(start: int, stop: int) -> NDArray[np.uint8]:
        first, last = start // per_word, -(-stop // per_word)
        found = unpacked(words(points)[:, first:last], bits)
        if offset and (found == (1 << bits) - 1).any():
            raise UnsupportedError(
                f"{parts.where}: qzeros holds {(1 << bits) - 1}, which implementations of this format read "
                "differently: look for the model with the checkpoint format gptq_v2, or for a GGUF file of "
                "it"
            )
        return (found + np.uint8(offset))[:, start - per_word * first : stop - per_word * first].T

    def centred() -> bool:
        if all_are(points, middle):
            return True
        if symmetric:
            raise FormatError(f"{parts.where}: sym is true, but qzeros holds zero points other than {half}")
        return False

    as_stored = symmetric and offset == 1 and all_are(points, repeated(half, bits))
    return Integers(
        name=f"{parts.module}.weight",
        where=parts.where,
        shape=(rows, width),
        bits=bits,
        group=group,
        levels=levels,
        scales=transposed_scales(scales),
        zeros=None if as_stored else zeros,
        centred=(lambda: True) if as_stored else centred,
        sources=sources,
        how=f"gptq, zero points plus {0 if as_stored else offset}",
    )


def _check_order(parts: Parts, width: int, group: int, reordered: bool) -> None:
    """Raises `UnsupportedError` unless each group is a row of neighbours, as in blocks."""
    if "g_idx" not in parts.found:
        if reordered:
            raise FormatError(f"{parts.where}: desc_act is true, but there is no g_idx")
        return
    order = parts.shaped("g_idx", (width,), "I32")
    differs = np.flatnonzero(order.copy_rows(0, 1).view("<i4") != np.arange(width, dtype=np.int64) // group)
    if len(differs):
        raise UnsupportedError(
            f"{parts.where}: g_idx gives input {quote(differs[0])} another group than {differs[0] // group}: "
            "inputs are reordered (desc_act), so groups are not blocks: look for the model without "
            "desc_act, or for a GGUF file of it"
        )
