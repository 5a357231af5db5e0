from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from zigai_core.contracts.descriptor import TokenizerSpec, WordNormalization
from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_core.contracts.plugins import Tokenizer
from zigai_core.testing.tokenizer.texts import ordinary_text, sample_texts
from zigai_tokenizers.wordpiece import WordPieceTokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
SPECIAL = {"[PAD]": CONTROL, "[UNK]": CONTROL, "[CLS]": CONTROL, "[SEP]": CONTROL}
PIECES = (
    "the th ##e ##es fox ##o ##ox un ##aff ##able a ##a ##aa b ##b ##c e é ##é i ##i 你 世 . , ' - ! ß "
    "ss ##ss σ ς ##σ д ##д 1 12 ##2 ##3 i̇ [ ] cls sep unk [unused1] ##ﬁ fi The T"
)


def make_spec(**changes: Any) -> TokenizerSpec:
    kinds = SPECIAL | dict.fromkeys(PIECES.split(), NORMAL)
    spec = TokenizerSpec(
        kind="bert",
        tokens=list(kinds),
        types=np.array(list(kinds.values()), np.int32),
        special_ids={"bos": 2, "eos": 3, "unknown": 1, "padding": 0},
        end_ids=frozenset({3}),
        add_bos=True,
        add_eos=True,
        continuing_prefix="##",
    )
    return replace(spec, **changes)


def as_gguf(spec: TokenizerSpec) -> TokenizerSpec:
    """The same vocabulary as llama.cpp's converter writes it."""
    tokens = [
        text if text in SPECIAL else text[2:] if text.startswith("##") else "▁" + text for text in spec.tokens
    ]
    return replace(spec, tokens=tokens, continuing_prefix=None)


SPEC = make_spec()
SETTINGS = [
    WordNormalization(),
    WordNormalization(lowercase=False),
    WordNormalization(lowercase=False, strip_accents=True),
    WordNormalization(strip_accents=False),
    WordNormalization(chinese=False),
    WordNormalization(clean=False),
]


def reference_words(text: str, settings: WordNormalization) -> list[str]:
    """Devlin et al.'s tokenization.py (google-research/bert), `BasicTokenizer`, by its description."""
    if settings.clean:
        kept = []
        for char in text:
            if char in "\t\n\r" or unicodedata.category(char) == "Zs":
                kept.append(" ")
            elif char not in "\0\ufffd" and not unicodedata.category(char).startswith("C"):
                kept.append(char)
        text = "".join(kept)
    if settings.chinese:
        text = "".join(f" {char} " if "\u4e00" <= char <= "\u9fff" else char for char in text)
    if settings.lowercase if settings.strip_accents is None else settings.strip_accents:
        decomposed = unicodedata.normalize("NFD", text)
        text = "".join(char for char in decomposed if unicodedata.category(char) != "Mn")
    if settings.lowercase:
        text = "".join(map(str.lower, text))
    spaced = []
    for char in text:
        ascii_mark = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
        mark = ascii_mark or unicodedata.category(char).startswith("P")
        spaced.append(f" {char} " if mark else char)
    return "".join(spaced).split()


def reference_encode(spec: TokenizerSpec, text: str) -> list[int]:
    """The longest token first (Devlin et al., tokenization.py, `WordpieceTokenizer`)."""
    ids = {text: token for token, text in enumerate(spec.tokens) if text not in SPECIAL}
    found: list[int] = []
    for word in reference_words(text, spec.words):
        tokens: list[int] = []
        at = 0
        while at < len(word):
            prefix = "##" if at else ""
            ends = (end for end in range(len(word), at, -1) if prefix + word[at:end] in ids)
            end = next(ends, None)
            if end is None or len(word) > spec.longest_word:
                tokens = [spec.special_ids["unknown"]]
                break
            tokens.append(ids[prefix + word[at:end]])
            at = end
        found += tokens
    return found


likely = st.text("theoxunafbcié你世.,'-! \t\n\u00a0ßσд123İ[]clsTHEO\u0301\0\u200b#▁ﬁ", max_size=40)
pieces = st.lists(st.sampled_from([*PIECES.replace("##", "").split(), " ", "[CLS]"]), max_size=12)


def test_the_class_implements_tokenizer_and_is_registered() -> None:
    assert isinstance(WordPieceTokenizer(SPEC), Tokenizer)
    [entry] = entry_points(group="zigai.tokenizers", name="bert")
    assert entry.load() is WordPieceTokenizer


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("form", [lambda spec: spec, as_gguf])
def test_tokens_equal_those_of_the_reference(settings: WordNormalization, form: Any) -> None:
    spec = make_spec(words=settings)
    tokenizer = WordPieceTokenizer(form(spec))

    @given(text=likely | pieces.map("".join))
    def check(text: str) -> None:
        assert tokenizer.encode(text, bos=False) == reference_encode(spec, text)

    check()


@pytest.mark.parametrize("settings", SETTINGS)
def test_tokens_equal_those_of_the_library(settings: WordNormalization) -> None:
    spec = make_spec(words=settings)
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {text: token for token, text in enumerate(spec.tokens)},
    }
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": settings.clean,
        "handle_chinese_chars": settings.chinese,
        "strip_accents": settings.strip_accents,
        "lowercase": settings.lowercase,
    }
    entry = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": token, "content": text, **entry} for token, text in enumerate(SPECIAL)]
    file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "decoder": None}
    file |= {"normalizer": normalizer, "pre_tokenizer": {"type": "BertPreTokenizer"}}
    library = tokenizers.Tokenizer.from_str(json.dumps({**file, "post_processor": None, "model": model}))
    both = WordPieceTokenizer(spec), WordPieceTokenizer(as_gguf(spec))
    for text in [*sample_texts(300), ordinary_text(200_000), "the fox[SEP]the [UNK][CLS]", "x" * 101]:
        for tokenizer in both:
            assert tokenizer.encode(text, bos=False, special=True) == library.encode(text).ids


def test_a_word_longer_than_the_longest_is_unknown() -> None:
    for longest in (100, 5):
        tokenizer = WordPieceTokenizer(make_spec(longest_word=longest))
        assert 1 not in tokenizer.encode("a" * longest, bos=False)
        assert tokenizer.encode("a" * (longest + 1), bos=False) == [1]


@pytest.mark.parametrize("longest", [0, -1, 1001, 2**40])
def test_words_that_would_take_too_long_are_refused(longest: int) -> None:
    with pytest.raises(UnsupportedError, match=f"words of at most {longest} characters are not supported"):
        WordPieceTokenizer(make_spec(longest_word=longest))


def test_a_vocabulary_without_an_unknown_token_is_refused() -> None:
    with pytest.raises(FormatError, match="has no unknown token"):
        WordPieceTokenizer(make_spec(special_ids={"bos": 2, "eos": 3}))


def test_a_vocabulary_without_the_token_that_ends_texts_is_refused() -> None:
    with pytest.raises(FormatError, match="asks for a token at the end of a text but gives no id"):
        WordPieceTokenizer(make_spec(special_ids={"bos": 2, "unknown": 1}))


def test_another_normaliser_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="'NFC' is not supported with WordPiece"):
        WordPieceTokenizer(make_spec(normalizer="NFC"))


@pytest.mark.parametrize("form", [lambda spec: spec, as_gguf])
def test_decoding_puts_spaces_between_words(form: Any) -> None:
    tokenizer = WordPieceTokenizer(form(SPEC))
    ids = tokenizer.encode("The  Unaffable fox.")
    assert tokenizer.decode(ids) == "the unaffable fox ."
    assert tokenizer.decode([*ids, 3], special=True) == "[CLS] the unaffable fox .[SEP]"
    assert tokenizer.decode_bytes(ids[1:]) == b" the unaffable fox ."


@pytest.mark.parametrize("form", [lambda spec: spec, as_gguf])
def test_a_user_defined_token_is_found_as_it_is_written(form: Any) -> None:
    spec = form(SPEC)
    text = "<tool>" if spec.continuing_prefix else "▁<tool>"
    types = np.append(spec.types, np.int32(USER_DEFINED))
    tokenizer = WordPieceTokenizer(replace(spec, tokens=[*spec.tokens, text], types=types))
    fox = tokenizer.encode("fox", bos=False)
    assert tokenizer.encode("fox<tool>fox", bos=False) == [*fox, len(spec.tokens), *fox]
    assert tokenizer.decode([*fox, len(spec.tokens)]) == "fox<tool>"


def test_plain_text_never_matches_the_text_of_an_unknown_token_that_is_a_word() -> None:
    """A hostile file may name any token as the unknown one."""
    spec = make_spec(special_ids={"bos": 2, "eos": 3, "unknown": SPEC.tokens.index("the")})
    tokenizer = WordPieceTokenizer(spec)
    ids = {text: token for token, text in enumerate(spec.tokens)}
    assert tokenizer.encode("the fox", bos=False) == [ids["th"], ids["##e"], ids["fox"]]
