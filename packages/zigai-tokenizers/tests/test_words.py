from __future__ import annotations

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE

from zigai_tokenizers import words
from zigai_tokenizers.words import SPLIT_AT_SPACES, Words, boundaries


@pytest.mark.parametrize(
    ("tokens", "splits", "cut"),
    [
        (["▁a", "▁▁"], (), ["a", "▁b", "▁▁▁c>", "▁d", "▁"]),
        (["▁a", ">▁▁b"], (), ["a", "▁b", "▁▁▁c>▁d", "▁"]),
        (["▁a▁", "]▁", "^▁", "-▁", "\\▁"], (), ["a▁b", "▁▁▁c>", "▁d", "▁"]),
        ([], (SPLIT_AT_SPACES,), ["a", "▁b", "▁", "▁", "▁c>", "▁d", "▁"]),
    ],
)
def test_words_end_where_no_token_goes_on(tokens: list[str], splits: tuple[str, ...], cut: list[str]) -> None:
    pattern = boundaries(tokens, splits)
    assert pattern is not None
    assert pattern.split("a▁b▁▁▁c>▁d▁") == cut


def test_other_expressions_allow_no_cut() -> None:
    assert boundaries(["a"], ("[0-9]",)) is None


def test_more_words_than_are_remembered_have_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    vocab = {text: token for token, text in enumerate("▁abcdefgh")}
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=[]))
    text = "".join(f"▁{a}{b}{c}" for a in "abcdefgh" for b in "abcdefgh" for c in "abcdefgh") + "a" * 100
    monkeypatch.setattr(words, "_REMEMBERED", 10)
    made = Words(tokenizer, boundaries(vocab, ()))
    assert made.encode(text) == [vocab[letter] for letter in text]
    assert made.encode(text) == [vocab[letter] for letter in text]
    assert len(made._known) <= 10
