from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Value
from zigai_core.contracts.plugins import Backend
from zigai_core.ops.operations import MixtureOfExperts
from zigai_kernels import NativeBackend

ROWS = 23


def mixture(
    tools: Any,
    dtype: str,
    experts: int,
    used: int,
    *,
    renormalise: bool = True,
    hidden: int = 64,
    width: int = 32,
) -> Any:
    random = np.random.RandomState(3)
    sketch = tools.sketch()
    x = sketch.input("x", random.standard_normal((ROWS, width)))
    scores = 2 * random.standard_normal((ROWS, experts))
    scores[5] = 1.0  # a tie of all
    scores = sketch.input("scores", scores)
    gate = sketch.random("gate", (experts, hidden, width), dtype, 1)
    up = sketch.random("up", (experts, hidden, width), dtype, 2)
    down = sketch.random("down", (experts, width, hidden), dtype, 3)
    sketch.add(MixtureOfExperts(Value("y", width), x, scores, gate, up, down, used, renormalise, "silu"))
    return sketch


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize(("experts", "used"), [(1, 1), (4, 4), (8, 2), (60, 4)])
def test_a_mixture_agrees_with_its_definition(
    tools: Any, backend: Backend, experts: int, used: int, renormalise: bool
) -> None:
    sketch = mixture(tools, "F32", experts, used, renormalise=renormalise)
    tools.compare(backend, sketch, tools.batch(range(ROWS)), atol=2e-3)


@pytest.mark.parametrize("dtype", ["F16", "Q4_0", "Q8_0", "Q4_K"])
def test_a_quantised_mixture_is_near_its_definition(tools: Any, backend: Backend, dtype: str) -> None:
    wide = 256 if dtype.endswith("K") else 32
    sketch = mixture(tools, dtype, 8, 2, hidden=2 * wide, width=wide)
    graph = sketch.graph()
    y = (
        backend.compile(graph, sketch.tensors, tools.options)
        .new_context()
        .run(tools.batch(range(ROWS)))["logits"]
    )
    exact = tools.reference(sketch, tools.batch(range(ROWS)))
    assert np.sqrt(np.mean((y - exact) ** 2) / np.mean(exact**2)) < 0.03


@pytest.mark.parametrize("dtype", ["F32", "Q8_0"])
def test_a_row_of_a_mixture_is_bitwise_the_same_in_every_batch(
    tools: Any, backend: Backend, dtype: str
) -> None:
    for threads in (1, 3):
        options = dataclasses.replace(tools.options, threads=threads)
        context = mixture(tools, dtype, 8, 2).context(backend, options)
        whole = context.run(tools.batch(range(ROWS)))["logits"]
        for row in range(ROWS):
            np.testing.assert_array_equal(context.run(tools.batch([row]))["logits"][0], whole[row])


def test_a_mixture_that_uses_more_experts_than_there_are_is_refused(tools: Any) -> None:
    sketch = mixture(tools, "F32", 4, 5)
    with pytest.raises(ShapeError, match="5 of 4 experts are used"):
        NativeBackend().compile(sketch.graph(), sketch.tensors, tools.options)


def test_experts_of_no_rows_are_refused(tools: Any) -> None:
    sketch = mixture(tools, "F32", 4, 2, hidden=0)
    with pytest.raises(ShapeError, match="4 experts of 0"):
        NativeBackend().compile(sketch.graph(), sketch.tensors, tools.options)


def test_scores_that_are_not_numbers_end_in_results_that_are_none(tools: Any, backend: Backend) -> None:
    sketch = mixture(tools, "F32", 8, 2)
    scores = sketch.tensors["scores.weight"].to_float32().copy()
    scores[1, 3], scores[2] = np.nan, np.nan
    sketch.tensor("scores.weight", scores)
    y = sketch.context(backend).run(tools.batch(range(4)))["logits"]
    assert np.isfinite(y[[0, 3]]).all()
    assert np.isnan(y[[1, 2]]).all()
