"""Encoders in C: the bytes of numpy's, on every instruction set."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from zigai_core.api.encoding import encoder
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.dtypes.quantize import LARGEST
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError
from zigai_core.contracts.plugins import QuantizingBackend
from zigai_kernels import NativeBackend

TYPES = ["Q8_0", "Q4_0", "Q4_K"]


def cases(limit: float) -> dict[str, NDArray[np.float32]]:
    """Rows of whole blocks, with magnitudes up to `limit`."""
    chance = np.random.default_rng(23)
    any_bits = chance.integers(0, 1 << 32, (37, 256), np.uint32).view(np.float32)
    exponents = np.exp2(chance.uniform(-149, np.log2(limit), (64, 256)))
    sparse = np.where(chance.random((24, 256)) < 0.1, chance.normal(size=(24, 256)), -0.0)
    found = {
        "one block": chance.normal(size=(1, 256)),
        "many blocks": chance.normal(0, 0.02, (83, 768)),
        "long tails": chance.standard_t(2, (33, 512)),
        "one outlier": np.where(np.arange(512) % 256 == 200, -7.0, chance.normal(0, 1e-3, (9, 512))),
        "any bits": np.where(np.abs(any_bits) <= limit, any_bits, 0.0),
        "all magnitudes": exponents * chance.choice([-1, 1], exponents.shape),
        "a magnitude to each row": chance.normal(size=(90, 256)) * np.exp2(np.arange(-89.0, 1))[:, None],
        "scales that float16 cannot tell from zero": chance.normal(size=(32, 256)) * 2e-7,
        "subnormal": chance.integers(0, 1 << 22, (8, 256), np.uint32).view(np.float32),
        "the smallest": chance.choice(np.array([1, -1, 0, -0.0]) * 2.0**-149, (8, 256)),
        "the largest": chance.choice([-limit, limit], (8, 256)),
        "the largest and small ones": np.where(chance.random((8, 256)) < 0.05, limit, 1e-30),
        "zeros": np.zeros((3, 256)),
        "zeros with a sign": np.full((3, 256), -0.0),
        "sparse": sparse,
        "equal": np.repeat(chance.normal(size=(16, 1)), 256, axis=1),
        "equal but for one": np.where(np.arange(256) == 255, 1.0, np.full((4, 256), 0.3)),
        "all positive": chance.uniform(1, 2, (16, 256)),
        "all negative": -chance.uniform(1, 2, (16, 256)),
        "halves": chance.integers(-255, 256, (32, 256)) / 2,
        "fifteenths": chance.integers(0, 61, (32, 256)) / 60,
    }
    return {name: values.astype(np.float32) for name, values in found.items()}


@pytest.mark.parametrize("dtype", TYPES)
def test_every_byte_is_that_of_numpy(backend: QuantizingBackend, dtype: str) -> None:
    for name, values in cases(LARGEST[dtype]).items():
        for source in ("F32", "F16", "BF16"):
            most = LARGEST[dtype] if source == "F32" else min(LARGEST[dtype], 65504) * 0.99  # rounded up
            rows = np.clip(values, -most, most)
            stored = DTYPES[source].from_float32(rows)
            expected = DTYPES[dtype].from_float32(DTYPES[source].to_float32(stored, rows.shape))
            encoded = backend.quantize_rows(stored, source, dtype)
            np.testing.assert_array_equal(encoded, expected, err_msg=f"{name}, {source}")


@pytest.mark.parametrize("dtype", TYPES)
def test_any_number_of_blocks_at_any_alignment_is_encoded(backend: QuantizingBackend, dtype: str) -> None:
    width = DTYPES[dtype].block_size
    values = np.random.default_rng(1).normal(size=(35, width)).astype(np.float32)
    expected = DTYPES[dtype].from_float32(values).reshape(35, -1)
    for count in range(36):
        shifted = np.zeros(4 * width * count + 1, np.uint8)[1:]
        shifted[:] = values[:count].reshape(-1).view(np.uint8)
        assert np.array_equal(backend.quantize_rows(shifted, "F32", dtype), expected[:count].reshape(-1))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf, "too large"])
def test_a_number_that_cannot_be_stored_is_the_error_of_numpy(
    backend: QuantizingBackend, dtype: str, value: float | str
) -> None:
    number = np.nextafter(np.float32(LARGEST[dtype]), np.float32(np.inf)) if value == "too large" else value
    for place in (0, 31, 32, 511, 5000, 12287):
        values = np.zeros((48, 256), np.float32)
        values.reshape(-1)[place] = number
        values[47, 255] = number
        with pytest.raises(FormatError) as expected:
            DTYPES[dtype].from_float32(values)
        with pytest.raises(FormatError, match=f"^{re.escape(str(expected.value))}$"):
            backend.quantize_rows(values.reshape(-1).view(np.uint8), "F32", dtype)


def test_other_types_and_incomplete_blocks_are_refused() -> None:
    backend, data = NativeBackend(), np.zeros(1024, np.uint8)
    for source, dtype in (("F32", "Q6_K"), ("Q8_0", "Q4_0")):
        with pytest.raises(UnsupportedError, match=f"does not encode {source} as {dtype}"):
            backend.quantize_rows(data, source, dtype)
    for rows in (data[:1000], data.reshape(8, 128), data.view(np.float32)):
        with pytest.raises(ShapeError, match="not bytes of F32 for whole blocks of Q8_0, 128 each"):
            backend.quantize_rows(rows, "F32", "Q8_0")


def test_the_native_backend_encodes_in_several_threads() -> None:
    encode = encoder(DTYPES["Q4_K"], Plugins(backends={"native": NativeBackend}))
    assert isinstance(encode.backend, NativeBackend)
    values = np.random.default_rng(4).normal(size=(64, 2048)).astype(np.float32)
    tensor = TensorInfo("a", values.shape, DTYPES["F32"], values.reshape(-1).view(np.uint8))
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda row: encode(tensor, tensor.row_data(row, row + 1), 1), range(64)))
    assert np.array_equal(np.concatenate(parts), DTYPES["Q4_K"].from_float32(values))


def test_a_machine_whose_instruction_set_is_refused_encodes_with_numpy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ZIGAI_CPU", "sse9")
    assert encoder(DTYPES["Q8_0"], Plugins(backends={"native": NativeBackend})).backend is None
    assert "passed over: ZIGAI_CPU=sse9" in caplog.text
