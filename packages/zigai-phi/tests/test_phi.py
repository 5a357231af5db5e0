"""What depends on the context or on a damaged file, which no oracle has."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, ShapeError
from zigai_core.contracts.graph import Graph
from zigai_core.ops.operations import Attention, Rope
from zigai_core.testing.oracles import Oracle, float_tensor
from zigai_phi import phi3

LONG = Oracle.load(Path(__file__).parent / "oracles" / "phi3-long.npz").model
"""Six of eight elements of a head are rotated; the original context has 16 tokens."""


def with_tensor(name: str, values: list[float]) -> ModelDescriptor:
    tensor = float_tensor(name, np.array(values, np.float32))
    return dataclasses.replace(LONG, tensors={**LONG.tensors, name: tensor})


def changed(**values: Any) -> ModelDescriptor:
    return dataclasses.replace(LONG, hyperparameters=LONG.hyperparameters.replaced(**values))


def operations(graph: Graph, kind: type) -> list[Any]:
    return [operation for operation in graph if isinstance(operation, kind)]


@pytest.mark.parametrize(("context", "factors"), [(16, [1.0, 1.5, 2.0]), (17, [1.25, 3.0, 7.0])])
def test_a_context_above_the_original_one_takes_the_long_factors(context: int, factors: list[float]) -> None:
    expected = 10000.0 ** -(np.arange(0, 6, 2) / 6) / factors
    ropes = operations(phi3(LONG, context=context), Rope)
    assert len(ropes) == 2 * LONG.hyperparameters.integer("block_count")
    for rope in ropes:
        np.testing.assert_allclose(rope.frequencies, expected, rtol=1e-6)
        assert rope.magnitude == pytest.approx(1.4)


def test_a_window_is_that_of_all_layers_and_0_is_none() -> None:
    for value, window in ((0, None), (7, 7)):
        graph = phi3(changed(attention__sliding_window=value), context=64)
        assert {op.window for op in operations(graph, Attention)} == {window}


@pytest.mark.parametrize("name", ["rope_factors_short.weight", "rope_factors_long.weight"])
def test_factors_that_do_not_fit_the_rotated_part_are_named(name: str) -> None:
    for context in (16, 64):  # also those that this context does not take
        with pytest.raises(ShapeError, match=name):
            phi3(with_tensor(name, [1.0, 2.0, 3.0, 4.0]), context=context)
        with pytest.raises(FormatError, match=rf"{name} has 0\.0 for pair 1"):
            phi3(with_tensor(name, [1.0, 0.0, 3.0]), context=context)


@pytest.mark.parametrize("count", [5, 0, 10])
def test_a_rotated_part_that_is_none_is_named(count: int) -> None:
    with pytest.raises(FormatError, match=rf"rope\.dimension_count is {count}"):
        phi3(changed(rope__dimension_count=count), context=64)
