"""KL divergence and perplexity of distributions with known values."""

from __future__ import annotations

import numpy as np
import pytest

from zigai_core.contracts.errors import ShapeError
from zigai_core.testing.divergence import Mean, kl_divergence, log_softmax, perplexity, surprise


def test_log_softmax_is_right_for_large_logits() -> None:
    logits = np.array([[1000.0, 1000.0], [-1000.0, 0.0], [1e5, 0.0]], dtype=np.float32)
    assert np.exp(log_softmax(logits)) == pytest.approx(np.array([[0.5, 0.5], [0, 1], [1, 0]]))


def test_kl_divergence_equals_its_formula_and_is_not_symmetric() -> None:
    p, q = np.array([[0.5, 0.5]]), np.array([[0.9, 0.1]])
    expected = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    assert kl_divergence(np.log(p), np.log(q) + 3) == pytest.approx([expected])
    assert kl_divergence(np.log(q), np.log(p)) != pytest.approx([expected])


def test_the_divergence_of_a_distribution_from_itself_is_zero() -> None:
    logits = np.random.default_rng(0).standard_normal((7, 100)).astype(np.float32)
    assert kl_divergence(logits, logits).tolist() == [0.0] * 7
    assert kl_divergence(logits, logits + 5).max() < 1e-9


def test_the_perplexity_of_uniform_logits_is_the_vocabulary_size() -> None:
    nats = surprise(np.zeros((5, 32), dtype=np.float32), [3, 1, 4, 1, 5])
    assert nats == pytest.approx([np.log(32)] * 4)
    assert perplexity(nats).value == pytest.approx(32)
    assert perplexity(nats).error == 0


def test_the_logits_of_a_row_give_the_surprise_of_the_next_token() -> None:
    logits = np.log(np.array([[0.25, 0.75], [0.5, 0.5], [0.1, 0.9]]))
    assert np.exp(-surprise(logits, [0, 1, 0])) == pytest.approx([0.75, 0.5])


def test_the_standard_error_is_that_of_the_mean() -> None:
    assert Mean.of(np.array([1.0, 2.0, 3.0, 4.0])) == Mean(2.5, pytest.approx(np.sqrt(5 / 3) / 2))


def test_arrays_that_do_not_match_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3\), but the reference has \(2, 4\)"):
        kl_divergence(np.zeros((2, 4)), np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="3 rows of logits for 2 tokens"):
        surprise(np.zeros((3, 4)), [1, 2])
    with pytest.raises(ShapeError, match="at least 2"):
        Mean.of(np.zeros(1))
