"""Values of config.json that families check in the same way."""

from __future__ import annotations

import math
from typing import Any

import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.huggingface_values import rotated_elements, whole


def test_a_whole_number_is_within_its_limits() -> None:
    assert (whole("n", 1), whole("n", 2**31 - 1), whole("n", 0, least=0)) == (1, 2**31 - 1, 0)
    with pytest.raises(ValueError, match=r"^n is 0, but must be a whole number above 0$"):
        whole("n", 0)
    with pytest.raises(ValueError, match=r"^n is -1, but must be a whole number$"):
        whole("n", -1, least=0)


@pytest.mark.parametrize("value", [None, True, 1.0, "1", [1], -1, 2**31, 10**400])
def test_what_is_no_whole_number_is_an_error_with_the_name(value: Any) -> None:
    with pytest.raises(ValueError, match=r"n is .*, but must be a whole number"):
        whole("n", value)


def test_a_share_of_a_head_is_rotated() -> None:
    assert rotated_elements(0.25, 64, None, None, default=1.0) == (16, 64)
    assert rotated_elements(None, 64, 3, 5, default=0.5) == (32, 64)


@pytest.mark.parametrize("share", [0, -0.5, 1.5, True, "0.5", math.nan, math.inf])
def test_what_is_no_share_is_an_error(share: Any) -> None:
    with pytest.raises(ValueError, match=r"partial_rotary_factor is .*, but must be above 0 and at most 1"):
        rotated_elements(share, 64, None, None, default=1.0)


@pytest.mark.parametrize(("share", "size"), [(0.01, 64), (0.3, 10), (1.0, 7)])
def test_elements_that_are_no_pairs_are_refused(share: float, size: int) -> None:
    with pytest.raises(UnsupportedError, match="which are not pairs"):
        rotated_elements(share, size, None, None, default=1.0)


@pytest.mark.parametrize("sizes", [(None, None, 4), (None, 64, 0), (0, 64, 4), ("64", 64, 4)])
def test_sizes_are_whole_numbers(sizes: Any) -> None:
    with pytest.raises(ValueError, match="must be a whole number above 0"):
        rotated_elements(0.5, *sizes, default=1.0)
