"""Metadata values as they are written: their types, and values that GGUF cannot store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError
from zigai_gguf import GGUFFile, Typed, ValueType, limits, write_gguf


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, ValueType.BOOL),
        (np.bool_(True), ValueType.BOOL),
        (0, ValueType.UINT32),
        (2**32 - 1, ValueType.UINT32),
        (-1, ValueType.INT32),
        (2**32, ValueType.INT64),
        (-(2**31) - 1, ValueType.INT64),
        (2**63, ValueType.UINT64),
        (1.5, ValueType.FLOAT32),
        (np.float64(1.5), ValueType.FLOAT64),
        (np.int8(1), ValueType.INT8),
        (np.uint64(1), ValueType.UINT64),
        ("x", ValueType.STRING),
    ],
)
def test_a_plain_value_gets_the_default_type(path: Path, value: Any, kind: ValueType) -> None:
    write_gguf(path, {"x": value})
    metadata = GGUFFile.open(path).metadata
    assert metadata.value_type("x") is kind
    assert metadata["x"] == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([True, False], ValueType.BOOL),
        ([1, -2], ValueType.INT32),
        ([1, 2**31], ValueType.INT64),
        ([1, 2**63], ValueType.UINT64),
        ([1, 0.5], ValueType.FLOAT32),
        (("a", "b"), ValueType.STRING),
        (np.array([1, 2], ">i2"), ValueType.INT16),
        (np.array([True, False]), ValueType.BOOL),
    ],
)
def test_a_plain_list_or_array_gets_the_default_type(path: Path, value: Any, kind: ValueType) -> None:
    write_gguf(path, {"x": value})
    metadata = GGUFFile.open(path).metadata
    assert metadata.typed_value("x").type is kind
    assert list(metadata["x"]) == list(value)


def test_nested_lists_become_nested_arrays(path: Path) -> None:
    write_gguf(path, {"x": [[1, 2], ["a"], [[True]]]})
    metadata = GGUFFile.open(path).metadata
    assert metadata.typed_value("x").type is ValueType.ARRAY
    numbers, words, deeper = metadata["x"]
    assert (numbers.dtype, numbers.tolist()) == (np.int32, [1, 2])
    assert words == ["a"]
    assert deeper[0].tolist() == [True]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ([], "'x' is an empty list"),
        ([1, "a"], "'x' is a list of mixed types"),
        ([True, 1], "'x' is a list of mixed types"),
        (b"x", "'x' is of Python type bytes"),
        (None, "'x' is of Python type NoneType"),
        ({}, "'x' is of Python type dict"),
        (2**64, "'x' is 18446744073709551616, outside the range of UINT64"),
        (-(2**63) - 1, "outside the range of UINT64"),
        (1e39, "'x' is 1e.39, outside the range of FLOAT32"),
        ([1.0, 1e39], "'x': element 1 is 1e.39, outside the range of FLOAT32"),
        ("\ud800", "'x' cannot be encoded as UTF-8"),
        (["a", "\ud800"], "'x': element 1 cannot be encoded as UTF-8"),
        (np.float16(1), "'x' has dtype float16"),
        (np.array(["a"]), "'x' is of Python type ndarray"),
        (np.zeros((2, 2)), r"'x' has shape \(2, 2\)"),
        (Typed(ValueType.UINT8, 256), "'x' is 256, outside the range of UINT8"),
        (Typed(ValueType.UINT8, [1, -1]), "'x': element 1 is -1, outside the range of UINT8"),
        (Typed(ValueType.UINT8, np.array([256])), "'x': element 0 is 256, outside the range of UINT8"),
        (
            Typed(ValueType.INT32, np.array([1.5], np.float32)),
            "element 0 is 1.5, which cannot be stored as INT32",
        ),
        (Typed(ValueType.INT32, np.array([2**31], np.uint32)), "element 0 is 2147483648, outside the range"),
        (Typed(ValueType.UINT8, 1.0), "'x' is 1.0, which cannot be stored as UINT8"),
        (Typed(ValueType.UINT8, True), "'x' is True, which cannot be stored as UINT8"),
        (Typed(ValueType.BOOL, 1), "'x' is 1, which cannot be stored as BOOL"),
        (Typed(ValueType.STRING, 1), "'x' is 1, which cannot be stored as STRING"),
        (Typed(ValueType.STRING, ["a", 1]), "'x': element 1 is 1, not a string"),
        (Typed(ValueType.ARRAY, 1), "'x' is 1, which cannot be stored as ARRAY"),
        (Typed(ValueType.ARRAY, [1]), "'x': element 0 is 1, not an array"),
        ([[1]] * (limits.ARRAYS + 1), "'x' has more elements of type ARRAY than a reader accepts"),
        ([""] * (limits.STRINGS + 1), "'x' has more elements of type STRING than a reader accepts"),
        ([[[[[1]]]]], "'x' nests arrays more than 4 levels deep"),
    ],
)
def test_a_value_that_gguf_cannot_store_is_an_error_that_names_the_key(
    tmp_path: Path, value: Any, what: str
) -> None:
    with pytest.raises(FormatError, match=what):
        write_gguf(tmp_path / "x.gguf", {"x": value})
    assert list(tmp_path.iterdir()) == []
