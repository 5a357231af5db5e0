"""GGUF's tensor type ids and their storage types.

Source: `enum ggml_type` in ggml.h.
"""

from __future__ import annotations

from zigai_core.contracts.dtypes import DTYPES, DType

NAMES: dict[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    30: "BF16",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
    41: "Q1_0",
    42: "Q2_0",
}
"""Names of tensor types by id."""

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


TENSOR_TYPES: dict[int, DType] = {number: DTYPES[name] for number, name in NAMES.items()}
"""Storage types by id."""

TYPE_IDS: dict[str, int] = {name: number for number, name in NAMES.items()}
"""Ids by name of the storage type."""


def unknown_type(number: int) -> str:
    """Returns the error text for a tensor type id that is not in `TENSOR_TYPES`."""
    if number in REMOVED:
        return f"has type {number} ({REMOVED[number]}), removed from the format; convert the model again"
    if 97 <= number <= 99 or 133 <= number <= 158 or 202 <= number <= 399:
        return f"has type {number} of the fork ik_llama.cpp; use a file made with llama.cpp itself"
    return f"has type {number}, which is unknown; the file is damaged or newer than this reader"
