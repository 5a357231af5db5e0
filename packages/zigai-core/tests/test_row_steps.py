"""The row stage: biases, penalties, DRY, top-n-sigma and masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zigai_core.api.registry import Registry
from zigai_core.contracts.best import best, bitset
from zigai_core.contracts.errors import SamplingError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.sampling import Row
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.sampling.row import LogitsRow
from zigai_core.engine.sampling.row_steps import prefix_matches

OFF = SamplingOptions(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1)
INF = math.inf


def logits_of(*values: float) -> Array:
    return np.array(values, np.float32)


def started(options: SamplingOptions, prompt: Sequence[int] = (), **keywords: Any) -> Sampler:
    sampler = Sampler(options, **keywords)
    sampler.start(prompt)
    return sampler


def sample(options: SamplingOptions, logits: Array, prompt: Sequence[int] = ()) -> int:
    return started(options, prompt).sample(logits)


def edited(options: SamplingOptions, logits: Array, prompt: Sequence[int] = ()) -> list[float]:
    """The row after all row steps."""
    rows = []

    class Look:
        def edit(self, row: Row) -> None:
            rows.append(row.logits())

    steps = ("logit_bias", "penalties", "dry", "top_n_sigma", "look")
    registry = Registry[Any]("zigai.samplers", {"look": lambda options: Look()})
    started(replace(options, steps=steps), prompt, samplers=registry).sample(logits)
    return [float(logit) for logit in rows[0]]


def test_logit_bias_is_added() -> None:
    options = replace(OFF, logit_bias={0: 1.5, 2: -INF})
    assert edited(options, logits_of(1, 2, 3)) == [2.5, 2, -INF]


def test_logit_bias_of_a_token_outside_the_vocabulary_is_an_error() -> None:
    with pytest.raises(SamplingError, match="token 3; the vocabulary has 3"):
        sample(replace(OFF, logit_bias={3: 1.0}), logits_of(1, 2, 3))


def test_penalties_follow_their_formulas() -> None:
    options = replace(OFF, repeat_penalty=2.0, frequency_penalty=0.5, presence_penalty=0.25)
    assert edited(options, logits_of(4, -4, 1, 0), [0, 1, 1, 3]) == [
        4 / 2 - 0.5 - 0.25,
        -4 * 2 - 2 * 0.5 - 0.25,
        1,
        -0.5 - 0.25,
    ]


@pytest.mark.parametrize(
    ("last_n", "penalised"), [(1, [2]), (2, [1, 2]), (-1, [0, 1, 2]), (0, []), (9, [0, 1, 2])]
)
def test_penalties_apply_to_the_last_n_tokens(last_n: int, penalised: list[int]) -> None:
    options = replace(OFF, presence_penalty=1.0, penalty_last_n=last_n)
    result = edited(options, logits_of(5, 5, 5, 5), [0, 1, 2])
    assert [token for token, value in enumerate(result) if value == 4] == penalised


@pytest.mark.parametrize("token", [-2, 4])
def test_a_history_outside_the_vocabulary_is_an_error(token: int) -> None:
    with pytest.raises(SamplingError, match=f"token {token} is not in the vocabulary of 4"):
        sample(replace(OFF, presence_penalty=1.0), logits_of(1, 2, 3, 4), [2, token])


@pytest.mark.parametrize(
    "prompt", [[], [0], [0, 1, 2], [3, 3, 3, 3, 3], [0, 9, 1, 5, 0, 9, 1], [0, 1, 2, 0, 1, 2, 9, 0, 1]]
)
@pytest.mark.parametrize("breakers", [[], [2], [9]])
@pytest.mark.parametrize("last_n", [-1, 2, 5, 64])
def test_dry_follows_its_definition(prompt: list[int], breakers: list[int], last_n: int) -> None:
    options = replace(
        OFF,
        dry_multiplier=0.5,
        dry_base=2.0,
        dry_allowed_length=1,
        dry_penalty_last_n=last_n,
        dry_breaker_tokens=frozenset(breakers),
    )
    recent = prompt[-last_n:] if last_n > 0 else prompt
    expected = [0.0] * 10
    for token in set(range(10)) - set(breakers):
        lengths = [0]
        for end in range(1, len(recent)):
            length = 0
            while (
                length < end
                and recent[end - 1 - length] == recent[len(recent) - 1 - length]
                and recent[end - 1 - length] not in breakers
            ):
                length += 1
            if recent[end] == token:
                lengths.append(length)
        if max(lengths) >= 1:
            expected[token] = -0.5 * 2.0 ** (max(lengths) - 1)
    assert edited(options, np.zeros(10, np.float32), prompt) == expected


def test_prefix_matches_is_the_z_function() -> None:
    assert prefix_matches([1, 2, 1, 2, 1, 3]) == [0, 0, 3, 0, 1, 0]
    assert prefix_matches([7] * 5) == [0, 4, 3, 2, 1]
    assert prefix_matches([]) == []


def test_top_n_sigma_ignores_excluded_tokens() -> None:
    options = replace(OFF, top_n_sigma=1.0, logit_bias={0: -INF})
    assert edited(options, logits_of(1000, 3, 2.9, 0)) == [-INF, 3, np.float32(2.9), -INF]


def row_of(*values: float) -> LogitsRow:
    return LogitsRow(logits_of(*values), [], best)


def test_written_logits_are_read_and_ranked() -> None:
    row = row_of(1, 2, 3, 4)
    row.write([0, 3], [9.5, -INF])
    assert row.read([3, 0, 1]).tolist() == [-INF, 9.5, 2]
    assert [array.tolist() for array in row.best(9)] == [[0, 2, 1], [9.5, 3, 2]]
    assert row.logits().tolist() == [9.5, 2, 3, -INF]


def test_excluded_tokens_stay_excluded() -> None:
    row = row_of(1, 2, 3, 4)
    row.write(3, -INF)
    row.keep(np.array([True, False, True, True]))
    row.write([1, 3], [7, 7])
    row.replace(logits_of(5, 6, 7, 8))
    row.write([1, 3], [7, 7])
    assert row.logits().tolist() == [5, -INF, 7, -INF]
    assert row.best(9)[0].tolist() == [2, 0]
    assert row.read([0, 1, 2, 3]).tolist() == [5, -INF, 7, -INF]


def test_masks_are_combined() -> None:
    row = row_of(*range(70))
    row.allow(bitset(np.arange(70) % 2 == 0))
    row.allow(
        np.array([0, 0xFFFFFFFF, 0xFFFFFFFF, 7], np.uint32)
    )  # words beyond the vocabulary have no effect
    row.keep(np.arange(70) < 68)
    assert row.best(3)[0].tolist() == [66, 64, 62]
    assert np.flatnonzero(row.logits() > -INF).tolist() == list(range(32, 68, 2))


def test_large_logits_are_limited_to_the_range_of_float32() -> None:
    row = row_of(0, 0)
    row.write([0, 1], [1e300, -1e300])
    assert np.isfinite(row.logits()).all()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda row: row.write(2, 0.0), "token 2 is not in the vocabulary of 2"),
        (lambda row: row.write(-1, 0.0), "token -1"),
        (lambda row: row.read([5]), "token 5"),
        (lambda row: row.write(0, math.nan), "wrote a logit of nan"),
        (lambda row: row.write(0, INF), "wrote a logit of inf"),
        (lambda row: row.keep(np.ones(3, np.bool_)), r"must be bool \[2\]"),
        (lambda row: row.keep(np.ones(2, np.int8)), "must be bool"),
        (lambda row: row.allow(np.ones(0, np.uint32)), r"must be uint32 \[1\]"),
        (lambda row: row.allow(np.ones(1, np.int64)), "must be uint32"),
        (lambda row: row.replace(logits_of(1, 2, 3)), "replaced by 2 logits"),
        (lambda row: row.replace(logits_of(1, math.nan)), "none of them NaN"),
    ],
)
def test_invalid_edits_are_errors(edit: Any, words: str) -> None:
    with pytest.raises(SamplingError, match=words):
        edit(row_of(1, 2))
