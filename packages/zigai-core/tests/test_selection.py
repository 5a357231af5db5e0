"""Linear selection equals selection by sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from zigai_core.contracts.graph import Array
from zigai_core.engine.sampling.selection import largest_reaching, parts, places_of


def by_sorting(keys: Array, weights: Any, share: float, beyond: bool) -> list[int]:
    order = np.argsort(-keys, kind="stable")
    cumulative = np.cumsum(weights[order])
    target = share * cumulative[-1]
    count = int(np.searchsorted(cumulative, target, side="right" if beyond else "left")) + 1
    return sorted(order[:count].tolist())


def rows(count: int) -> dict[str, Array]:
    rng = np.random.default_rng(count)
    return {
        "normal": rng.normal(0, 3, count).astype(np.float32),
        "narrow": rng.normal(0, 1e-3, count).astype(np.float32),
        "far": (rng.normal(0, 1e-3, count) + 1000).astype(np.float32),
        "equal": np.full(count, 1.5, np.float32),
        "two values": rng.choice([1.0, 1.0000001], count).astype(np.float32),
        "zeros of both signs": rng.choice([0.0, -0.0], count).astype(np.float32),
        "ascending": np.arange(count, dtype=np.float32),
        "extreme": rng.choice([-3.4e38, -1e-45, 0, 1e-45, 3.4e38], count).astype(np.float32),
        "one far above": np.where(np.arange(count) == 7, 90, rng.normal(0, 1, count)).astype(np.float32),
    }


@pytest.mark.parametrize("beyond", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.25, 0.5, 0.95, 1 - 1e-16])
@pytest.mark.parametrize("name", rows(9))
def test_selection_equals_sorting(name: str, share: float, beyond: bool) -> None:
    for count in (8, 900, 30_011):
        keys = rows(count)[name]
        # Whole numbers, so that sums are exact in any order.
        weights = np.random.default_rng(1).integers(1, 100, count).astype(np.float64)
        chosen = largest_reaching(keys, lambda at, weights=weights: weights[at], share, beyond=beyond)
        assert np.flatnonzero(chosen).tolist() == by_sorting(keys, weights, share, beyond)


@given(arrays(np.float32, st.integers(1, 80), elements=st.floats(-5, 5, width=16)), st.floats(0, 1))
def test_selection_of_few_keys_equals_sorting(keys: Array, share: float) -> None:
    weights = np.ones(len(keys))
    chosen = largest_reaching(keys, lambda at: weights[at], share)
    assert np.flatnonzero(chosen).tolist() == by_sorting(keys, weights, min(share, 1), False)


def test_indices_continue_over_the_parts() -> None:
    chosen = np.random.default_rng(0).random(20_000) < 0.3
    assert places_of(chosen).tolist() == np.flatnonzero(chosen).tolist()
    assert [part.stop - part.start for part in parts(20_000)] == [8192, 8192, 3616]
