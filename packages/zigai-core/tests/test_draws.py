"""Draws are uniform and depend only on seed, index, purpose and number."""

from __future__ import annotations

import numpy as np
import pytest

from zigai_core.engine.sampling.draws import Draws


def test_a_draw_does_not_depend_on_earlier_draws() -> None:
    draws = Draws(3)
    first = [draws.uniform(index, "token") for index in range(5)]
    assert [draws.uniform(index, "token") for index in reversed(range(5))] == first[::-1]
    assert [Draws(3).uniform(index, "token") for index in range(5)] == first


def test_draws_are_equal_on_every_machine() -> None:
    assert [Draws(1).uniform(index, "token") for index in (0, 1)] == [
        0.014670359173017844,
        0.9607638930895286,
    ]


def test_draws_differ_with_seed_index_purpose_and_number() -> None:
    places = [
        (seed, index, purpose, number)
        for seed in (0, 1, 2**32, 2**64, 10**30)
        for index in range(20)
        for purpose in ("token", "xtc", "nekot", "")
        for number in range(3)
    ]
    values = {Draws(seed).uniform(index, purpose, number) for seed, index, purpose, number in places}
    assert len(values) == len(places)
    assert all(0 <= value < 1 for value in values)


@pytest.mark.parametrize("along", ["index", "seed", "number"])
def test_draws_are_uniform_and_neighbours_independent(along: str) -> None:
    count, cells = 40_000, 16
    draws = Draws(5)
    values = np.array(
        [
            draws.uniform(i, "token")
            if along == "index"
            else Draws(i).uniform(0, "token")
            if along == "seed"
            else draws.uniform(0, "token", i)
            for i in range(count)
        ]
    )
    pairs = np.histogram2d(values[:-1], values[1:], bins=cells, range=[[0, 1], [0, 1]])[0]
    expected = (count - 1) / cells**2
    chi_square = float(((pairs - expected) ** 2 / expected).sum())
    assert 190 < chi_square < 330  # 255 degrees of freedom: 0.1 % of fair draws are outside at either end
