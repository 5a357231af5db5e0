"""The kind `t5`: ids are those of sentencepiece, with models that it has trained."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest
from sentencepiece import SentencePieceProcessor
from unigram_models import CONTROL, NORMAL, UNKNOWN, USER_DEFINED, hostile_texts, spec_of, trained

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_core.contracts.plugins import Tokenizer
from zigai_core.testing.memory import peak_bytes
from zigai_core.testing.tokenizer.texts import ordinary_text
from zigai_tokenizers.sentencepiece_unigram import SentencePieceUnigramTokenizer

MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "nmt_nfkc": ("nmt_nfkc", {}, {}),
    "bytes": ("nmt_nfkc_cf", {"byte_fallback": True}, {}),
    "identity": (
        "identity",
        {"remove_extra_whitespaces": False},
        {"remove_extra_whitespaces": False},
    ),
    "no prefix": ("nfkc", {"add_dummy_prefix": False}, {"add_space_prefix": False}),
    "whole lines": ("nmt_nfkc", {"split_by_whitespace": False, "max_sentencepiece_length": 64}, {}),
}


def small(tokens: dict[str, float], **changes: Any) -> TokenizerSpec:
    """A vocabulary of these tokens with their scores, after the special ones."""
    return TokenizerSpec(
        **{
            "kind": "t5",
            "tokens": ["<pad>", "</s>", "<unk>", *tokens],
            "scores": np.array([0, 0, 0, *tokens.values()], np.float32),
            "types": np.array([CONTROL, CONTROL, UNKNOWN] + [NORMAL] * len(tokens), np.int32),
            "special_ids": {"eos": 1, "unknown": 2, "padding": 0},
            **changes,
        }
    )


def texts_of(tokenizer: SentencePieceUnigramTokenizer, text: str) -> list[str]:
    return [tokenizer.token_text(token) for token in tokenizer.encode(text)]


def reference(scores: dict[str, float], text: str) -> list[str]:
    """The best of all ways to make a text of tokens, by trying each; unknown characters as "?"."""
    penalty = min(scores.values()) - 10
    best = (-math.inf, [""])

    def extend(at: int, total: float, parts: list[str]) -> None:
        nonlocal best
        if at == len(text):
            best = max(best, (total, parts), key=lambda each: each[0])
            return
        for end in range(at + 1, len(text) + 1):
            if text[at:end] in scores:
                extend(end, total + scores[text[at:end]], [*parts, text[at:end]])
        if text[at] not in scores:
            extend(at + 1, total + penalty, [*parts, *(["?"] if parts[-1:] != ["?"] else [])])

    extend(0, 0.0, [])
    return best[1]


def test_the_class_implements_tokenizer_and_is_registered() -> None:
    assert isinstance(SentencePieceUnigramTokenizer(spec_of(trained())), Tokenizer)
    [entry] = entry_points(group="zigai.tokenizers", name="t5")
    assert entry.load() is SentencePieceUnigramTokenizer


@pytest.mark.parametrize("name", MODELS)
def test_ids_are_those_of_sentencepiece(name: str) -> None:
    rule, options, changes = MODELS[name]
    model = trained(rule, **options)
    library = SentencePieceProcessor(model_proto=model)
    spec = spec_of(model, **changes)
    tokenizer = SentencePieceUnigramTokenizer(spec)
    texts = [*hostile_texts(list(spec.tokens)), ordinary_text(200_000)]
    assert len(texts) > 2000
    for text in texts:
        assert tokenizer.encode(text) == library.encode(text), ascii(text[:300])
    if "byte_fallback" not in options:
        assert sum(0 in tokenizer.encode(text) for text in texts) > 1000  # most have unknown characters


def test_the_sum_of_scores_is_the_highest() -> None:
    """By trying all, with scores whose sums differ."""
    random = np.random.default_rng(1)
    parts = ["a", "b", "ab", "ba", "aba", "bb", "abb", "baab", "\u2581", "\u2581a", "\u2581ba", "aa"]
    for _ in range(60):
        scores = {part: float(np.float32(-random.uniform(1, 9))) for part in parts}
        tokenizer = SentencePieceUnigramTokenizer(small(scores))
        text = "".join(random.choice(list("aabbx"), size=9))
        found = ["?" if part == "<unk>" else part for part in texts_of(tokenizer, text)]
        assert found == reference(scores, "\u2581" + text), text


def test_a_run_of_unknown_characters_is_one_token() -> None:
    tokenizer = SentencePieceUnigramTokenizer(small({"\u2581a": -1, "a": -2, "\u2581": -3}))
    assert texts_of(tokenizer, "axyzaxa xx") == ["\u2581a", "<unk>", "a", "<unk>", "a", "\u2581", "<unk>"]
    assert tokenizer.decode(tokenizer.encode("axa")) == "aa"


def test_an_unknown_character_costs_ten_more_than_the_lowest_score() -> None:
    """A token of an unknown character and `a`, against both alone, for scores of `a` around ten."""
    for score, expected in ((9.9, ["xa"]), (10.1, ["<unk>", "a"])):
        spec = small({"a": score, "xa": -5.0}, add_space_prefix=False)
        assert texts_of(SentencePieceUnigramTokenizer(spec), "xa") == expected
        types = np.array([CONTROL, CONTROL, UNKNOWN, NORMAL, NORMAL, USER_DEFINED], np.int32)
        spec = small({"a": score, "xa": -5.0, "<u>": -1000.0}, types=types, add_space_prefix=False)
        assert texts_of(SentencePieceUnigramTokenizer(spec), "xa") == expected  # not the lowest of all tokens


def test_texts_between_special_tokens_are_encoded_each_on_its_own() -> None:
    spec = small(
        {"\u2581a": -1, "a": -2, "\u2581": -3, "<x>": -1}, types=np.array([3, 3, 2, 1, 1, 1, 4], np.int32)
    )
    tokenizer = SentencePieceUnigramTokenizer(spec)
    assert texts_of(tokenizer, "a<x>a") == ["\u2581a", "<x>", "\u2581a"]
    assert tokenizer.decode(tokenizer.encode("a<x>a a")) == "a<x>a a"
    assert "</s>" not in texts_of(tokenizer, "a</s>")
    assert tokenizer.encode("</s>", special=True) == [1]


def test_normalised_text_never_gives_a_control_token() -> None:
    tokenizer = SentencePieceUnigramTokenizer(spec_of(trained()))
    assert not {1, 2}.intersection(tokenizer.encode("\uff1cs\uff1e \uff1c/s\uff1e"))


def test_decoding_gives_the_normalised_text() -> None:
    tokenizer = SentencePieceUnigramTokenizer(spec_of(trained(byte_fallback=True)))
    assert tokenizer.decode(tokenizer.encode("  the   ﬁrst ① 中\U00020000 ")) == "the first 1 中\U00020000"


def test_unused_tokens_and_those_with_a_nul_are_never_produced() -> None:
    types = np.array([3, 3, 2, 1, 1, 5, 1], np.int32)
    spec = small({"a": -1, "b": -1, "ab": -0.1, "a\0b": -0.1}, types=types, add_space_prefix=False)
    tokenizer = SentencePieceUnigramTokenizer(spec)
    assert texts_of(tokenizer, "ab") == ["a", "b"]
    assert texts_of(tokenizer, "a\0b") == ["a", "<unk>", "b"]


def test_a_token_that_would_make_the_search_slow_is_refused() -> None:
    SentencePieceUnigramTokenizer(small({"a" * 512: -1, "a": -1}))
    with pytest.raises(UnsupportedError, match=r"token 3 'a+…a+' has 513 characters.*at most 512"):
        SentencePieceUnigramTokenizer(small({"a" * 513: -1, "a": -1}))
    control = replace(small({"a" * 513: -1, "a": -1}), types=np.array([3, 3, 2, 3, 1], np.int32))
    SentencePieceUnigramTokenizer(control)  # no text is searched for it


@pytest.mark.parametrize("score", [math.inf, -math.inf, math.nan])
def test_a_score_that_cannot_be_added_up_is_an_error(score: float) -> None:
    with pytest.raises(FormatError, match=r"score of token 4.* is"):
        SentencePieceUnigramTokenizer(small({"a": -1, "b": score}))


def test_a_vocabulary_without_scores_is_an_error() -> None:
    with pytest.raises(FormatError, match="has no scores"):
        SentencePieceUnigramTokenizer(small({"a": -1}, scores=None))


def test_a_long_text_takes_memory_in_proportion() -> None:
    tokenizer = SentencePieceUnigramTokenizer(spec_of(trained()))
    text = ordinary_text(1 << 20)
    tokenizer.encode(text)
    assert peak_bytes(lambda: tokenizer.encode(text)) < 40 * len(text.encode())
