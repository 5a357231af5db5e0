"""Operations on several streams of a row, against formulas in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Value
from zigai_core.contracts.plugins import Backend
from zigai_core.ops.operations import Embedding, GaussianCut, MatchMagnitude, MixStreams
from zigai_kernels.lowering import lower

ROWS = 7


def rows(width: int, seed: int = 0) -> Any:
    return (np.random.RandomState(seed).standard_normal((ROWS, width)) * 3).astype(np.float32)


@pytest.mark.parametrize(("streams", "made", "width"), [(1, 4, 5), (3, 3, 16), (4, 1, 37), (2, 3, 1)])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_streams_are_mixed_by_the_shares_of_each_row(
    tools: Any, backend: Backend, streams: int, made: int, width: int, offset: float
) -> None:
    x, shares = rows(streams * width), rows(made * streams, 1)
    sketch = tools.sketch()
    given = sketch.input("x", x), sketch.input("shares", shares)
    sketch.add(MixStreams(Value("y", made * width), *given, streams, offset))
    y = tools.compare(backend, sketch, tools.batch(range(ROWS)))["logits"]
    expected = np.zeros((ROWS, made, width))
    for i in range(made):
        for j in range(streams):
            share = shares[:, i * streams + j].astype(np.float64) + offset
            expected[:, i] += share[:, None] * x[:, j * width : (j + 1) * width]
    np.testing.assert_allclose(y, expected.reshape(ROWS, -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("streams", "width"), [(1, 5), (3, 16), (2, 37)])
def test_streams_become_as_large_as_the_reference(
    tools: Any, backend: Backend, streams: int, width: int
) -> None:
    x, reference = rows(streams * width), rows(width, 1)
    x[0], x[1, 0] = 1e-4, np.nan
    sketch = tools.sketch()
    given = sketch.input("x", x), sketch.input("reference", reference)
    sketch.add(MatchMagnitude(Value("y", streams * width), *given, 0.25))
    y = tools.compare(backend, sketch, tools.batch(range(ROWS)))["logits"]
    parts = x.astype(np.float64).reshape(ROWS, streams, width)
    power = (parts**2).mean(-1, keepdims=True)
    power = np.where(power < 0.25, 0.25, power)  # NaN stays
    wanted = np.sqrt((reference.astype(np.float64) ** 2).mean(-1))[:, None, None]
    np.testing.assert_allclose(y, (parts * wanted / np.sqrt(power)).reshape(ROWS, -1), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("width", [1, 5, 16, 37, 256])
@pytest.mark.parametrize("factor", [-0.5, 0.0, 1.5])
def test_what_exceeds_the_mean_by_some_deviations_is_left(
    tools: Any, backend: Backend, width: int, factor: float
) -> None:
    x = rows(width)
    x[0, 0] = np.nan
    sketch = tools.sketch()
    sketch.add(GaussianCut(Value("y", width), sketch.input("x", x), factor))
    y = tools.compare(backend, sketch, tools.batch(range(ROWS)))["logits"]
    wide = x.astype(np.float64)
    over = wide - wide.mean(-1, keepdims=True) - factor * wide.std(-1, keepdims=True)
    np.testing.assert_allclose(y, np.maximum(over, 0), rtol=1e-5, atol=1e-5)
    assert np.isnan(y[0]).all()


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (lambda a, b: MixStreams(Value("y", 6), a, b, 4), "a row of 6 elements is not 4 streams"),
        (lambda a, b: MixStreams(Value("y", 6), a, b, 0), "is not 0 streams"),
        (lambda a, b: MixStreams(Value("y", 7), a, b, 2), "4 shares do not give whole streams of 3 from 2"),
        (lambda a, b: MixStreams(Value("y", 9), a, b, 2), "4 shares of 2 streams are not for 9"),
        (lambda a, b: MixStreams(Value("y", 6), a, b, 2, float("nan")), "its offset is nan"),
        (lambda a, b: MatchMagnitude(Value("y", 6), a, b, 0.1), "a row of 6 elements is not streams of 4"),
        (lambda a, b: MatchMagnitude(Value("y", 4), b, b, -1.0), "its least square is -1"),
        (lambda a, b: GaussianCut(Value("y", 6), a, float("inf")), "its factor is inf"),
    ],
)
def test_values_and_attributes_that_do_not_fit_are_refused(tools: Any, operation: Any, error: str) -> None:
    sketch = tools.sketch()
    a, b = sketch.input("a", rows(6)), sketch.input("b", rows(4, 1))
    made = operation(a, b)
    assert error in str(made.fault())
    sketch.operations.append(made)
    with pytest.raises(ShapeError, match=error):
        lower(sketch.graph(), sketch.tensors)


def test_tokens_beyond_a_table_read_the_row_for_others(tools: Any, backend: Backend) -> None:
    table = rows(5)
    sketch = tools.sketch()
    sketch.add(Embedding(Value("y", 5), sketch.tensor("table", table), 2))
    tokens = [0, 6, 7, 2**31 - 2, 3]
    y = tools.compare(backend, sketch, tools.batch(tokens))["logits"]
    np.testing.assert_array_equal(y, table[[0, 6, 2, 2, 3]])
    wrong = Embedding(Value("z", 5), sketch.tensor("other", table), 7)
    assert "its row for other tokens is 7, but other has 7" in str(wrong.fault())
