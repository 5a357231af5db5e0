"""Models with published shapes and random weights: speed depends on the shape, not on the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import ModelDescriptor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.testing.toys import random_tensor, toy_decoder

_POOL = 16 << 20
"""Bytes of random blocks, repeated to fill a larger tensor."""


def _llama(layers: int, width: int, hidden: int, heads: int, kv_heads: int, **other: Any) -> dict[str, Any]:
    return {
        "architecture": "llama",
        "layers": layers,
        "width": width,
        "hidden": hidden,
        "heads": heads,
        "kv_heads": kv_heads,
        "vocabulary": 32_000,
        "context": 4096,
        **other,
    }


def _qwen(layers: int, width: int, hidden: int, heads: int, kv_heads: int, **other: Any) -> dict[str, Any]:
    usual = {"rope__freq_base": 1e6, "attention__layer_norm_rms_epsilon": 1e-6}
    return {
        "architecture": "qwen2",
        "layers": layers,
        "width": width,
        "hidden": hidden,
        "heads": heads,
        "kv_heads": kv_heads,
        "vocabulary": 151_936,
        "context": 32_768,
        "bias": True,
        **usual,
        **other,
    }


_QWEN3 = {"architecture": "qwen3", "bias": False, "qk_norm": True, "head_dim": 128, "context": 40_960}
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "llama2-7b": _llama(32, 4096, 11008, 32, 32),
    "llama2-13b": _llama(40, 5120, 13824, 40, 40),
    "tinyllama-1.1b": _llama(22, 2048, 5632, 32, 4, context=2048),
    "llama3-8b": _llama(32, 4096, 14336, 32, 8, vocabulary=128_256, context=8192, rope__freq_base=5e5),
    "qwen2-0.5b": _qwen(24, 896, 4864, 14, 2, tied=True),
    "qwen2-1.5b": _qwen(28, 1536, 8960, 12, 2, tied=True),
    "qwen2-7b": _qwen(28, 3584, 18944, 28, 4, vocabulary=152_064),
    "qwen3-0.6b": _qwen(28, 1024, 3072, 16, 8, tied=True, **_QWEN3),
    "qwen3-8b": _qwen(36, 4096, 12288, 32, 8, **_QWEN3),
}
"""The published configurations of these models, as arguments of `toy_decoder`."""

MIXES = (
    *("F32", "F16", "BF16", "Q8_0", "Q4_0", "MXFP4", "IQ4_NL", "IQ4_XS"),
    *("Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K"),
)
_NARROW = {
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
    "Q2_K": "Q4_0",
    "Q3_K": "Q4_0",
    "IQ4_XS": "IQ4_NL",
}
"""Type used instead of one with 256 elements per block if 256 does not divide a matrix's number of columns.

As in llama.cpp's `llama-quantize`.
"""


def random_model(shape: str, mix: str) -> ModelDescriptor:
    """A model with random weights, stored in the types that llama.cpp's quantiser would choose.

    `shape` is a key of `SHAPES`, `mix` one of `MIXES`. Raises `UnsupportedError`, which lists both, for any
    other.
    """
    if shape not in SHAPES or mix not in MIXES:
        raise UnsupportedError(
            f"no random model {shape}:{mix}; shapes: {', '.join(SHAPES)}; types: {', '.join(MIXES)}"
        )
    known = SHAPES[shape]
    stored = partial(
        stored_as,
        mix,
        layers=known["layers"],
        tied=known.get("tied", False),
        sharing=known.get("heads", 1) // known.get("kv_heads", 1),
    )
    model = toy_decoder(dtype=stored, maker=_filled, **known)
    return replace(model, name=f"{shape}:{mix}", tokenizer=None)


def stored_as(mix: str, name: str, columns: int, *, layers: int, tied: bool, sharing: int = 1) -> str:
    """Storage type of the tensor `name` with `columns` columns, in a model of `layers` layers.

    The choice of llama.cpp's `llama-quantize`: more bits where quantisation errors cost most accuracy.
    `tied`: the embedding is also the output matrix. `sharing`: query heads that share a key and value head.
    For `MXFP4`, all matrices but embedding and output matrix.
    """
    layer = int(name.split(".")[1]) if name.startswith("blk.") else 0
    part = name.removesuffix(".weight").rsplit(".", 1)[-1]
    head = part == "output" or (tied and part == "token_embd")
    if mix == "MXFP4":
        return "Q8_0" if part in ("output", "token_embd") else mix
    if mix in ("F32", "F16", "BF16", "Q8_0"):
        return mix
    dtype = "Q6_K" if head else _of_part(mix, part, layer, layers, sharing)
    return dtype if columns % 256 == 0 else _NARROW.get(dtype, dtype)


def _of_part(mix: str, part: str, layer: int, layers: int, sharing: int) -> str:
    """Storage type of the matrix `part` of a layer, or of the embedding."""
    costly = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    if mix in ("Q4_K_M", "Q5_K_M"):
        return "Q6_K" if part in ("attn_v", "ffn_down") and costly else mix.removesuffix("_M")
    if mix in ("IQ4_NL", "IQ4_XS"):
        more = (part == "attn_v" and sharing >= 4) or (part == "ffn_down" and layer < layers // 8)
        return "Q5_K" if more else mix
    if mix == "Q3_K_M":
        early = {"attn_v": layer < 2, "ffn_down": layer < layers // 16}
        if part in early:
            return "Q5_K" if early[part] else "Q4_K"
        return "Q4_K" if part in ("attn_output", "attn_qkv") else "Q3_K"
    if mix == "Q2_K":
        if part == "attn_v" and sharing >= 4:
            return "Q4_K"
        return "Q3_K" if part in ("attn_v", "attn_output", "ffn_down") else "Q2_K"
    return mix


def _filled(
    name: str, shape: tuple[int, ...], dtype: str, random: np.random.RandomState, std: float
) -> TensorInfo:
    """A random tensor; a large one repeats `_POOL` bytes, since making billions of random bytes is slow."""
    kind = DTYPES[dtype]
    total = kind.nbytes(shape)
    if total <= _POOL:
        return random_tensor(name, shape, kind, random, std)
    rows = max(1, _POOL // kind.nbytes(shape[-1:]))
    pool = random_tensor(name, (rows, shape[-1]), kind, random, std).data
    data = np.resize(pool, total)
    data.flags.writeable = False
    return TensorInfo(name, shape, kind, data)
