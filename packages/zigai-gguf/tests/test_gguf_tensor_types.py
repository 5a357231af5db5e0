from __future__ import annotations

import numpy as np
import pytest

from zigai_core.dtypes import DTYPES
from zigai_core.errors import UnsupportedError
from zigai_gguf.tensor_types import LAYOUTS, REMOVED, TENSOR_TYPES, TYPE_IDS, unknown_type


def test_each_type_has_the_layout_that_the_format_gives_it() -> None:
    for number, (name, block_size, block_bytes) in LAYOUTS.items():
        dtype = TENSOR_TYPES[number]
        assert (dtype.name, dtype.block_size, dtype.block_bytes) == (name, block_size, block_bytes)
        assert TYPE_IDS[name] == number


def test_what_core_dequantises_is_cores_own_type() -> None:
    for name, dtype in DTYPES.items():
        assert TENSOR_TYPES[TYPE_IDS[name]] is dtype


def test_the_ids_up_to_the_newest_are_known_or_removed() -> None:
    assert set(TENSOR_TYPES) | set(REMOVED) == set(range(43))
    assert not set(TENSOR_TYPES) & set(REMOVED)


def test_a_type_without_a_dequantiser_says_so_by_name() -> None:
    for dtype in TENSOR_TYPES.values():
        if dtype.name not in DTYPES:
            with pytest.raises(UnsupportedError, match=f"tensor type {dtype.name};"):
                dtype.to_float32(np.zeros(dtype.block_bytes, np.uint8), (dtype.block_size,))


@pytest.mark.parametrize("number", [97, 99, 133, 158, 202, 399])
def test_the_forks_types_are_named_as_the_forks(number: int) -> None:
    assert "ik_llama.cpp" in unknown_type(number)


@pytest.mark.parametrize("number", [43, 96, 100, 132, 159, 201, 400])
def test_ids_beside_the_forks_are_not(number: int) -> None:
    assert "ik_llama.cpp" not in unknown_type(number)
