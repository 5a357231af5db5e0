"""The definition of `best`, and bitsets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from zigai_core.contracts.best import Edits, best, bits, bitset
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Array

INF = np.inf
few_values = arrays(np.float32, st.integers(1, 90), elements=st.sampled_from([-2.0, -0.0, 0.0, 1.5, 3.0]))


@given(few_values, st.integers(1, 100), st.data())
def test_best_equals_the_start_of_the_sorted_row(row: Array, k: int, data: Any) -> None:
    edits = data.draw(
        st.dictionaries(st.integers(0, len(row) - 1), st.sampled_from([-INF, 0.0, 2.0]), max_size=5)
    )
    chosen = data.draw(arrays(np.bool_, len(row)))
    logits = {token: edits.get(token, float(row[token])) for token in range(len(row)) if chosen[token]}
    expected = sorted((-logit, token) for token, logit in logits.items() if logit > -INF)[:k]
    ids = sorted(edits)
    found = best(
        row,
        k,
        Edits(np.array(ids, np.int32), np.array([edits[token] for token in ids], np.float32)),
        bitset(chosen),
    )
    assert found.ids.tolist() == [token for _, token in expected]
    assert found.logits.tolist() == [-negative for negative, _ in expected]
    assert found.damaged is None


@pytest.mark.parametrize("value", [np.nan, INF, -INF])
def test_the_first_logit_that_is_not_finite_is_reported(value: float) -> None:
    row = np.array([1, 2, value, 4, value], np.float32)
    assert best(row, 1).damaged == 2
    hidden = Edits(np.array([2, 4], np.int32), np.array([0, 0], np.float32))
    assert best(row, 1, hidden, bitset(np.array([1, 0, 0, 0, 0], np.bool_))).damaged == 2


@given(arrays(np.bool_, st.integers(1, 100)))
def test_a_bitset_has_the_bits_it_is_made_of(chosen: Any) -> None:
    mask = bitset(chosen)
    assert (mask.dtype, len(mask)) == (np.uint32, -(-len(chosen) // 32))
    assert [bool(mask[t // 32] >> (t % 32) & 1) for t in range(len(chosen))] == chosen.tolist()
    np.testing.assert_array_equal(bits(mask, len(chosen)), chosen)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"row": np.zeros((2, 2), np.float32)}, "the row must be float32"),
        ({"row": np.zeros(4, np.float64)}, "the row must be float32"),
        ({"row": np.zeros(0, np.float32)}, "the row must be float32"),
        ({"k": 0}, "k must be at least 1"),
        ({"edits": Edits(np.array([4], np.int32), np.zeros(1, np.float32))}, "within 0..3"),
        ({"edits": Edits(np.array([-1], np.int32), np.zeros(1, np.float32))}, "within 0..3"),
        ({"edits": Edits(np.array([1, 1], np.int32), np.zeros(2, np.float32))}, "strictly ascending"),
        ({"edits": Edits(np.array([1], np.int64), np.zeros(1, np.float32))}, "int32 ids"),
        ({"edits": Edits(np.array([1], np.int32), np.zeros(2, np.float32))}, "as many float32 logits"),
        ({"mask": np.zeros(2, np.uint32)}, r"must be uint32 \[1\]"),
        ({"mask": np.zeros(1, np.uint8)}, r"must be uint32 \[1\]"),
    ],
)
def test_arguments_of_wrong_shape_type_or_value_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        best(**{"row": np.zeros(4, np.float32), "k": 2, **change})
