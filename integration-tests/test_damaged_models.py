"""A damaged model gives numbers or a `ZigAIError` with little text of the file, and no warning."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import zigai

EXTREMES = (
    b"\xff\xff\x7f\x7f",  # the largest float32, an infinity, a NaN
    b"\0\0\x80\x7f",
    b"\0\0\xc0\x7f",
    b"\0\x7c",  # an infinity in float16
    b"\0\0\0\0",
    b"\xff",
    b"\x01",
)


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("dtype", ["F32", "F16", "Q8_0", "Q4_K"])
def test_damage_anywhere_gives_numbers_or_a_zigai_error(
    make_toy: Callable[..., Path], tmp_path: Path, dtype: str, backend: str
) -> None:
    whole = make_toy("--type", dtype, "--layers", "1", "--width", "256").read_bytes()
    size = zigai.read(make_toy("--type", dtype, "--layers", "1", "--width", "256")).nbytes
    path = tmp_path / "damaged.gguf"
    rng = random.Random(f"{dtype} {backend}")
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 2, 4))):
            first, end = rng.choice([(0, len(whole) - size), (len(whole) - size, len(whole) - 4)])
            at, value = rng.randrange(first, end), rng.choice(EXTREMES)
            damaged[at : at + len(value)] = value
        path.write_bytes(damaged)
        try:
            model = zigai.load(path, backend=backend, threads=1, context=32)
            assert model.logits([1, 5, 7, 9]).dtype == np.float32
            str(model.generate("a b", max_tokens=2))
        except zigai.ZigAIError as error:
            refused += 1
            assert str(error).isprintable()
            assert len(str(error)) < 600
    assert 0 < refused < 60
