from __future__ import annotations

import numpy as np
import pytest

from zigai_core.contracts.dtypes import DTYPES
from zigai_gguf.tensor_types import REMOVED, TENSOR_TYPES, TYPE_IDS, unknown_type


def test_types_are_those_of_core_by_id() -> None:
    assert set(TYPE_IDS) == set(DTYPES)
    for number, dtype in TENSOR_TYPES.items():
        assert dtype is DTYPES[dtype.name]
        assert TYPE_IDS[dtype.name] == number


def test_the_ids_up_to_the_newest_are_known_or_removed() -> None:
    assert set(TENSOR_TYPES) | set(REMOVED) == set(range(43))
    assert not set(TENSOR_TYPES) & set(REMOVED)


def test_every_type_is_dequantised() -> None:
    for dtype in TENSOR_TYPES.values():
        values = dtype.to_float32(np.zeros(dtype.block_bytes, np.uint8), (dtype.block_size,))
        assert values.shape == (dtype.block_size,)


@pytest.mark.parametrize("number", [97, 99, 133, 158, 202, 399])
def test_ids_of_ik_llama_cpp_are_named_as_such(number: int) -> None:
    assert "ik_llama.cpp" in unknown_type(number)


@pytest.mark.parametrize("number", [43, 96, 100, 132, 159, 201, 400])
def test_other_unknown_ids_are_not_named_as_ik_llama_cpp(number: int) -> None:
    assert "ik_llama.cpp" not in unknown_type(number)


# Block size, and bytes of each field of a block (scales, minima, high bits, low bits), from ggml-common.h.
BLOCKS = {
    "Q4_0": (32, [2, 32 // 2]),
    "Q4_1": (32, [2, 2, 32 // 2]),
    "Q5_0": (32, [2, 4, 32 // 2]),
    "Q5_1": (32, [2, 2, 4, 32 // 2]),
    "Q8_0": (32, [2, 32]),
    "Q8_1": (32, [2, 2, 32]),
    "Q2_K": (256, [256 // 16, 256 // 4, 2, 2]),
    "Q3_K": (256, [256 // 8, 256 // 4, 12, 2]),
    "Q4_K": (256, [2, 2, 12, 256 // 2]),
    "Q5_K": (256, [2, 2, 12, 256 // 8, 256 // 2]),
    "Q6_K": (256, [256 // 2, 256 // 4, 256 // 16, 2]),
    "Q8_K": (256, [4, 256, 2 * 256 // 16]),
    "IQ2_XXS": (256, [2, 2 * 256 // 8]),
    "IQ2_XS": (256, [2, 2 * 256 // 8, 256 // 32]),
    "IQ2_S": (256, [2, 256 // 4, 256 // 32, 256 // 32]),
    "IQ3_XXS": (256, [2, 3 * 256 // 8]),
    "IQ3_S": (256, [2, 256 // 4, 256 // 32, 256 // 8, 256 // 64]),
    "IQ1_S": (256, [2, 256 // 8, 2 * 256 // 32]),
    "IQ1_M": (256, [256 // 8, 256 // 16, 256 // 32]),
    "IQ4_NL": (32, [2, 32 // 2]),
    "IQ4_XS": (256, [2, 2, 256 // 64, 256 // 2]),
    "TQ1_0": (256, [(256 - 4 * 256 // 64) // 5, 256 // 64, 2]),
    "TQ2_0": (256, [256 // 4, 2]),
    "MXFP4": (32, [1, 32 // 2]),
    "NVFP4": (64, [64 // 16, 64 // 2]),
    "Q1_0": (128, [2, 128 // 8]),
    "Q2_0": (64, [2, 64 // 4]),
    "F32": (1, [4]),
    "F16": (1, [2]),
    "BF16": (1, [2]),
    "F64": (1, [8]),
    "I8": (1, [1]),
    "I16": (1, [2]),
    "I32": (1, [4]),
    "I64": (1, [8]),
}


def test_a_block_has_the_size_of_its_fields() -> None:
    sizes = {name: (block_size, sum(fields)) for name, (block_size, fields) in BLOCKS.items()}
    assert {each.name: (each.block_size, each.block_bytes) for each in TENSOR_TYPES.values()} == sizes
