"""Getters return values of their type and range, and raise errors that name the key."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import Hyperparameters, without_leading_ones
from zigai_core.contracts.errors import FormatError, UnsupportedError

HEADS = "attention.head_count_kv"


def of(value: Any, layers: int | None = 2) -> Hyperparameters:
    values = {"x": value} if layers is None else {"x": value, "block_count": layers}
    return Hyperparameters(values, prefix="llama", source="model.gguf")


@pytest.mark.parametrize("array", [[2, 2], (2, 2), np.array([2, 2]), np.array([2, 2], np.uint64)])
def test_equal_entries_for_all_layers_are_one_value(array: Any) -> None:
    assert of(array).integer("x") == 2
    assert type(of(array).integer("x")) is int
    assert of(array).number("x") == 2.0
    assert of(array).integers("x", 2) == (2, 2)


def test_equal_flags_and_numbers_for_all_layers_are_one_value() -> None:
    assert of(np.array([True, True])).flag("x") is True
    assert of([False, False]).flag("x") is False
    assert of(np.array([0.5, 0.5], np.float32)).number("x") == 0.5


@pytest.mark.parametrize("array", [[2, 3], np.array([2, 3]), np.array([float("nan")] * 2), [True, 1]])
def test_one_value_from_entries_that_differ_is_unsupported(array: Any) -> None:
    for getter in (of(array).integer, of(array).number, of(array).flag):
        with pytest.raises(
            UnsupportedError, match=r"model.gguf: hyperparameter llama.x differs between layers"
        ):
            getter("x")


def test_integers_returns_the_entry_of_each_layer() -> None:
    given = of(np.array([2, 3], np.int32)).integers("x", 2)
    assert given == (2, 3)
    assert all(type(entry) is int for entry in given)
    assert of([np.int64(2), 3]).integers("x", 2) == (2, 3)


@pytest.mark.parametrize("array", [[2, 2, 2], [], np.array([2]), np.zeros(0)])
def test_a_number_of_entries_other_than_the_layers_is_a_format_error(array: Any) -> None:
    for getter in (of(array).integer, of(array).number, of(array).flag):
        with pytest.raises(FormatError, match=f"llama.x has {len(array)} entries for 2 layers"):
            getter("x")
    with pytest.raises(FormatError, match="entries for 2 layers"):
        of(array).integers("x", 2)


@pytest.mark.parametrize(
    "value",
    [True, "2", 2.0, 2**31, -1, pytest.param(10**5000, id="huge"), [True, True], [[2], [2]], ["a"] * 2],
)
def test_a_value_that_is_not_a_whole_number_in_range_is_an_error_with_the_key(value: Any) -> None:
    with pytest.raises((FormatError, UnsupportedError), match=r"llama\.x ") as caught:
        of(value).integer("x")
    assert len(str(caught.value)) < 200
    with pytest.raises(FormatError, match=r"llama\.x "):
        of(value).integers("x", 2)


@pytest.mark.parametrize("value", [True, "1", float("nan"), float("inf"), 10**400, -0.5, [float("inf")] * 2])
def test_a_value_that_is_not_a_finite_number_in_range_is_an_error_with_the_key(value: Any) -> None:
    with pytest.raises(FormatError, match=r"llama\.x "):
        of(value).number("x", minimum=0.0)


def test_a_number_that_float32_does_not_hold_is_an_error_with_the_key() -> None:
    assert of(3.4e38).number("x") == 3.4e38
    for value in (3.5e38, -3.5e38, 1e300):
        with pytest.raises(FormatError, match=r"llama\.x is \S+, outside ±3\.4e\+38"):
            of(value).number("x")


def test_a_negative_zero_is_returned_as_zero() -> None:
    assert str(of(-0.0).number("x")) == "0.0"


def test_numpy_scalars_are_quoted_as_plain_numbers() -> None:
    with pytest.raises(FormatError, match=r"llama\.x must be a whole number, not 1\.5$"):
        of(np.float32(1.5)).integer("x")


def test_a_huge_array_is_refused_before_it_is_copied() -> None:
    wide = np.lib.stride_tricks.as_strided(np.zeros(1, np.int64), (1 << 40,), (0,))
    with pytest.raises(FormatError, match=f"has {1 << 40} entries for 2 layers"):
        of(wide).integers("x", 2)
    with pytest.raises(FormatError, match=f"has {1 << 40} entries for 2 layers"):
        of(wide).integer("x")


def test_an_error_repeats_little_of_a_long_architecture_name() -> None:
    hp = Hyperparameters({}, prefix="a\n\x1b" * 20_000)
    with pytest.raises(FormatError) as caught:
        hp.integer("x")
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("shape", "same"),
    [((), ()), ((1,), (1,)), ((1, 1), (1,)), ((1, 64), (64,)), ((64, 1), (64, 1)), ((1, 1, 3, 1), (3, 1))],
)
def test_leading_ones_of_a_shape_are_removed(shape: tuple[int, ...], same: tuple[int, ...]) -> None:
    assert without_leading_ones(shape) == same
