"""Chunks of a long text give the same tokens as the whole text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers.pre_tokenizers import Sequence, Split

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_tokenizers import chunks as chunks_module
from zigai_tokenizers.byte_alphabet import CHARACTERS
from zigai_tokenizers.byte_level_bpe import ByteLevelBPETokenizer
from zigai_tokenizers.chunks import BETWEEN_DIGITS, BETWEEN_WORDS, CHUNK_CHARACTERS, chunks
from zigai_tokenizers.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from zigai_tokenizers.sentencepiece import SentencePieceTokenizer

DISTINCT = {tokenizer: name for name, tokenizer in reversed(PRE_TOKENIZERS.items())}
PARTS = (
    *("a", "B", "é", "ǅ", "ж", "中", "か", "カ", "한", "ש", "ა", "\u0301", "ª", "ʰ", "'s", "'T", "’s", "'"),
    *("1", "23", "456", "7890", "²", "٣", " ", "  ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u3000", "\x85"),
    *(".", ",", "!", "?", ";", ":", "/", "，", "。", "、", "！", "：", "；", "？", "「"),
    *("-", "_", "$", "+", "😀", "<", "|", "\u200d", "\0", "word", "Word", "WORD", "中AB", "x1", "1x"),
    *("<sentinel:12>", "IMGIMGAZ", "123", "ㄅ", "Ⅻ", "(", "a b"),
)
mixed_text = st.lists(st.sampled_from(PARTS), max_size=30).map("".join)


def words_of(pre_tokenizer: PreTokenizer) -> Callable[[str], list[str]]:
    splitter = Sequence([Split(Regex(p), behavior="isolated") for p in pre_tokenizer.patterns])

    def words(text: str) -> list[str]:
        return [word for word, _ in splitter.pre_tokenize_str(text)]

    return words


SPLITTERS = {name: (tokenizer, words_of(tokenizer)) for tokenizer, name in DISTINCT.items()}


@pytest.mark.parametrize("name", SPLITTERS)
@settings(max_examples=150)
@given(text=mixed_text)
@example("word's word\n\nword 12345 中 文，文")
@example("AAAA中AAAA aaaa")
def test_a_cut_does_not_change_words(name: str, text: str) -> None:
    pre_tokenizer, words = SPLITTERS[name]
    assert pre_tokenizer.cut is not None
    whole = words(text)
    for found in re.finditer(pre_tokenizer.cut, text):
        assert words(text[: found.start()]) + words(text[found.start() :]) == whole


def bpe(pre_tokenizer: str) -> ByteLevelBPETokenizer:
    merges = ["a b", "ab c", "Ġ a", "Ġ ab", "1 2", "12 3", "Ċ Ċ", "Ġ Ġ", "ĠĠ Ġ", "Ġ ,", "c Ġ"]
    tokens = [*CHARACTERS, *(merge.replace(" ", "") for merge in merges)]
    return ByteLevelBPETokenizer(
        TokenizerSpec(kind="gpt2", tokens=tokens, merges=merges, pre_tokenizer=pre_tokenizer)
    )


@pytest.fixture(scope="module")
def byte_level() -> dict[str, ByteLevelBPETokenizer]:
    return {name: bpe(name) for name in SPLITTERS}


@given(text=st.text("abc123 ,\n'", max_size=80) | mixed_text, size=st.integers(1, 9))
@settings(max_examples=60)
def test_byte_level_tokens_do_not_depend_on_chunks(
    byte_level: dict[str, ByteLevelBPETokenizer], text: str, size: int
) -> None:
    for tokenizer in byte_level.values():
        expected = tokenizer.encode(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks_module, "CHUNK_CHARACTERS", size)
            assert tokenizer.encode(text) == expected


@given(
    text=st.text("the quickfox 🙂好\n\u2581", max_size=80),
    size=st.integers(1, 9),
    prefix=st.booleans(),
    crossing=st.booleans(),
)
@settings(max_examples=150)
def test_sentencepiece_tokens_do_not_depend_on_chunks(
    spec: TokenizerSpec,
    extend: Callable[..., TokenizerSpec],
    text: str,
    size: int,
    prefix: bool,
    crossing: bool,
) -> None:
    if crossing:  # tokens that span a space
        spec = extend(spec, [("e\u2581", 1), ("e\u2581q", 1), ("x t", 4)])
    tokenizer = SentencePieceTokenizer(replace(spec, add_space_prefix=prefix))
    expected = tokenizer.encode(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks_module, "CHUNK_CHARACTERS", size)
        assert tokenizer.encode(text) == expected


def test_sentencepiece_does_not_cut_texts_that_it_normalises(spec: TokenizerSpec) -> None:
    text = "the  quick   fox " * 3
    tokenizer = SentencePieceTokenizer(replace(spec, remove_extra_whitespaces=True))
    expected = tokenizer.encode(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks_module, "CHUNK_CHARACTERS", 1)
        assert tokenizer.encode(text) == expected


@pytest.mark.parametrize(
    "pattern", [BETWEEN_WORDS, f"{BETWEEN_WORDS}|{BETWEEN_DIGITS}", "(?<=[a-z])(?= )"], ids=range(3)
)
def test_a_long_text_is_cut_into_chunks_of_about_equal_size(pattern: str) -> None:
    text = "some words, 12 of them. " * 20_000
    found = list(chunks(text, re.compile(pattern)))
    assert "".join(found) == text
    assert len(found) == len(text) // CHUNK_CHARACTERS + 1
    assert max(map(len, found)) < CHUNK_CHARACTERS + 24


def test_a_text_without_a_match_is_not_cut() -> None:
    text = "a" * (3 * CHUNK_CHARACTERS)
    assert list(chunks(text, re.compile("(?<=a)(?= )"))) == [text]
    assert list(chunks(text, None)) == [text]
    assert list(chunks("", re.compile("(?= )"))) == [""]


def test_a_pre_tokeniser_allows_no_cut_by_default() -> None:
    assert PreTokenizer((r"\S+ \S+",)).cut is None
