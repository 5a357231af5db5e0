"""Writes dequantize.npz: random blocks of each type, and their values as decoded by the `gguf` package.

To run with gguf 0.10 or newer installed: python make_dequantize.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # type: ignore[import-not-found,unused-ignore]
from gguf.quants import dequantize  # type: ignore[import-not-found,unused-ignore]

# Byte offsets of a block's float16 fields; all other bytes may have any value.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
    "NVFP4": [], "TQ1_0": [52], "TQ2_0": [64], "IQ1_S": [0], "IQ1_M": [],
    "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
}  # fmt: skip

rng = np.random.default_rng(20260101)
arrays: dict[str, np.ndarray] = {}
for name in ["F16", "BF16", *HALVES]:
    kind = GGMLQuantizationType[name]
    block_size, block_bytes = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (max(3, 96 // block_size), block_bytes), dtype=np.uint8)
    if name in HALVES:
        for at in HALVES[name]:
            scale = rng.normal(0, 0.05, len(blocks)).astype("<f2")
            blocks[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
        if name == "IQ1_M":
            blocks[:, 55] &= 0xBF  # a bit of the exponent, so that d is finite
    else:
        values = rng.normal(0, 1, len(blocks)).astype(np.float32)
        stored = (
            values.astype("<f2").view(np.uint8)
            if name == "F16"
            else values.view(np.uint8).reshape(-1, 4)[:, 2:]
        )
        blocks = np.ascontiguousarray(stored).reshape(-1, 2)
    arrays[f"{name}.blocks"] = blocks
    arrays[f"{name}.values"] = (
        dequantize(blocks.reshape(-1), kind).reshape(len(blocks), block_size).astype("<f4")
    )
np.savez_compressed(Path(__file__).with_name("dequantize.npz"), **arrays)  # type: ignore[arg-type,unused-ignore]
