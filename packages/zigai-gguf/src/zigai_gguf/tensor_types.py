"""GGUF's tensor type ids and their storage types.

Source: `enum ggml_type` in ggml.h; block layouts in ggml-common.h.
"""

from __future__ import annotations

from zigai_core.contracts.dtypes import DTYPES, DType

LAYOUTS: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}
"""Name, elements in a block and bytes in a block, by id."""

REMOVED: dict[int, str] = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}
"""Types that were removed from the format, by id."""


TENSOR_TYPES: dict[int, DType] = {
    number: DTYPES.get(name) or DType(name, block_size, block_bytes, None)
    for number, (name, block_size, block_bytes) in LAYOUTS.items()
}
"""Storage types by id. A type that core lacks has only a layout; a package may add its dequantiser."""

TYPE_IDS: dict[str, int] = {dtype.name: number for number, dtype in TENSOR_TYPES.items()}
"""Ids by name of the storage type."""


def unknown_type(number: int) -> str:
    """Returns the error text for a tensor type id that is not in `TENSOR_TYPES`."""
    if number in REMOVED:
        return f"has type {number} ({REMOVED[number]}), removed from the format; convert the model again"
    if 97 <= number <= 99 or 133 <= number <= 158 or 202 <= number <= 399:
        return f"has type {number} of the fork ik_llama.cpp; use a file made with llama.cpp itself"
    return f"has type {number}, which is unknown; the file is damaged or newer than this reader"
