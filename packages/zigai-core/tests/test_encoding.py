"""Encoders, and the choice of the backend that encodes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zigai_core.api.encoding import encoder
from zigai_core.api.installed import report
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError
from zigai_core.ops.reference import NumpyBackend

VALUES = np.random.default_rng(3).normal(size=(6, 64)).astype(np.float32)


class Fast(NumpyBackend):
    """A backend that encodes Q8_0 and notes the types that it encodes from."""

    name = "fast"
    speed = 5
    quantized_types = frozenset({"Q8_0"})

    def __init__(self) -> None:
        self.sources: list[str] = []

    def quantize_rows(self, data: NDArray[np.uint8], source: str, dtype: str) -> NDArray[np.uint8]:
        self.sources.append(source)
        return DTYPES[dtype].from_float32(
            DTYPES[source].to_float32(data, (data.size // DTYPES[source].block_bytes,))
        )


class Slow(Fast):
    """A slower one."""

    name = "slow"
    speed = 1


@pytest.fixture(autouse=True)
def _forget_reported_warnings() -> None:
    report.cache_clear()


def fails(error: Exception) -> Callable[[], Any]:
    class Failing(Fast):
        name = "failing"
        speed = 99

        def quantize_rows(self, data: NDArray[np.uint8], source: str, dtype: str) -> NDArray[np.uint8]:
            raise error

    return Failing


def test_the_fastest_backend_that_has_the_type_encodes_and_else_numpy() -> None:
    plugins = Plugins(backends={"numpy": NumpyBackend, "slow": Slow, "fast": Fast})
    assert isinstance(encoder(DTYPES["Q8_0"], plugins).backend, Fast)
    assert encoder(DTYPES["Q8_0"], plugins).backend.name == "fast"  # type: ignore[union-attr]
    assert encoder(DTYPES["Q4_0"], plugins).backend is None
    assert encoder(DTYPES["Q8_0"], Plugins()).backend is None
    with pytest.raises(UnsupportedError, match="no encoder for 'Q6_K'; there are ones for F32, F16, BF16"):
        encoder(DTYPES["Q6_K"], plugins)


@pytest.mark.parametrize("error", [UnsupportedError("not built"), RuntimeError("broken")])
def test_a_backend_that_cannot_be_used_is_passed_over_with_a_warning(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    plugins = Plugins(backends={"failing": fails(error), "fast": Fast})
    with caplog.at_level(logging.WARNING, "zigai"):
        assert encoder(DTYPES["Q8_0"], plugins).backend.name == "fast"  # type: ignore[union-attr]
    assert f"passed over: {error}" in caplog.text or "'failing' failed: RuntimeError: broken" in caplog.text


@pytest.mark.parametrize("source", ["F32", "F16", "BF16", "Q4_0"])
def test_an_encoder_gives_the_bytes_of_the_values_whatever_they_are_stored_as(source: str) -> None:
    stored = DTYPES[source].from_float32(VALUES)
    expected = DTYPES["Q8_0"].from_float32(DTYPES[source].to_float32(stored, VALUES.shape))
    backend = encoder(DTYPES["Q8_0"], Plugins(backends={"fast": Fast}))
    for encode in (backend, encoder(DTYPES["Q8_0"], Plugins())):
        tensor = TensorInfo("a", VALUES.shape, DTYPES[source], stored)
        assert np.array_equal(encode(tensor, stored, len(VALUES)), expected)
    assert backend.backend.sources[1:] == ["F32" if source == "Q4_0" else source]  # type: ignore[union-attr]


def test_what_cannot_be_encoded_is_an_error_with_and_without_a_backend() -> None:
    data = np.full((2, 32), np.nan, np.float32).reshape(-1).view(np.uint8)
    tensor, narrow = (TensorInfo("a b", shape, DTYPES["F32"], data) for shape in ((2, 32), (4, 16)))
    for plugins in (Plugins(), Plugins(backends={"fast": Fast})):
        encode = encoder(DTYPES["Q8_0"], plugins)
        with pytest.raises(FormatError, match=r"^tensor 'a b': nan is not finite"):
            encode(tensor, data, 2)
        with pytest.raises(ShapeError, match="16 elements is not a whole number"):
            encode(narrow, data, 4)
        with pytest.raises(ShapeError, match="take"):
            encode(tensor, data, 3)


@pytest.mark.parametrize("dtype", ["F16", "Q8_0"])
def test_a_number_beyond_float32_is_an_error_that_names_it(dtype: str) -> None:
    data = np.full((1, 32), 1e300).reshape(-1).view(np.uint8)
    for plugins in (Plugins(), Plugins(backends={"fast": Fast})):
        with pytest.raises(FormatError, match=rf"^tensor 'a': 1e\+300 is too large for {dtype}"):
            encoder(DTYPES[dtype], plugins)(TensorInfo("a", (1, 32), DTYPES["F64"], data), data, 1)


def test_a_file_that_was_cut_short_is_the_error_whatever_was_read() -> None:
    asked = list[int]()

    def check() -> None:
        asked.append(1)
        if len(asked) > 1:
            raise FormatError("file: was cut short")

    data = np.full((1, 32), np.nan, np.float32).reshape(-1).view(np.uint8)
    tensor = TensorInfo("a", (1, 32), DTYPES["F32"], data, check=check)
    with pytest.raises(FormatError, match=r"^file: was cut short$"):
        encoder(DTYPES["Q8_0"], Plugins())(tensor, data, 1)
