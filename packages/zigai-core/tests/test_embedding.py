"""Embeddings of one text or of many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import ContextOverflowError, TokenizerError, UnsupportedError
from zigai_core.testing.engine.scripted import scripted_model


def test_pooling_is_what_it_says() -> None:
    model = scripted_model()
    hidden = model.outputs("hidden", "some text")
    for pooling, expected in (("last", hidden[-1]), ("mean", hidden.mean(0)), ("cls", hidden[0])):
        plain = model.embed("some text", pooling=pooling, normalize=False)
        np.testing.assert_allclose(plain, expected, rtol=1e-5, atol=1e-6)
        unit = model.embed("some text", pooling=pooling)
        np.testing.assert_allclose(unit, expected / np.linalg.norm(expected), rtol=1e-5, atol=1e-6)


def test_many_texts_are_a_row_each() -> None:
    model = scripted_model()
    texts = [f"text {number}" * (1 + number % 3) for number in range(90)]
    rows = model.embed(texts)
    assert rows.shape == (90, 64)
    for number in (0, 41, 89):
        np.testing.assert_allclose(rows[number], model.embed(texts[number]), rtol=1e-4, atol=1e-5)
    assert model.embed([1, 2, 3]).shape == (64,)


def test_no_texts_have_no_rows() -> None:
    rows = scripted_model().embed([])
    assert (rows.shape, rows.dtype) == ((0, 64), np.float32)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["a", []], "text 1 has no tokens"),
        ([[]], "text 0 has no tokens"),
        (np.empty(0, int), "a prompt has no tokens"),
        (["a", 5], "text 1 must be text or a sequence of token ids, not int"),
        ([5, "a"], "text 0 must be text or a sequence of token ids, not int"),
        ([[1], [2, "b"]], "text 1 that is not text must hold whole numbers; at index 1"),
    ],
)
def test_a_wrong_text_is_named_by_its_index(wrong: Any, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        scripted_model().embed(wrong)


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (["a", "b\ud800"], TokenizerError, r"^text 1: the text has a lone surrogate"),
        (
            [[1]] * 70 + [[10**6]],
            TokenizerError,
            r"^text 70: token 1000000 is outside",
        ),
        ([[1], [1] * 200], ContextOverflowError, r"^text 1: no room: the prompt has 200 tokens"),
        ("b\ud800", TokenizerError, r"^the text has a lone surrogate"),
        ([10**6], TokenizerError, r"^token 1000000 is outside"),
    ],
)
def test_an_error_about_one_of_several_texts_says_which(wrong: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        scripted_model().embed(wrong)


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="pooling must be last, mean, cls, not 'max'"):
        scripted_model().embed("x", pooling="max")  # type: ignore[arg-type]
