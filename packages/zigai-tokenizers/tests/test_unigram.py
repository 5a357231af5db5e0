"""The kind `unigram`: ids are those of the tokenizers library."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers import Tokenizer as Library
from tokenizers import normalizers as n
from tokenizers import pre_tokenizers as p
from tokenizers.models import Unigram
from unigram_models import CONTROL, hostile_texts, spec_of, trained

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, TokenizerError, UnsupportedError
from zigai_core.contracts.plugins import Tokenizer
from zigai_core.testing.memory import peak_bytes
from zigai_core.testing.tokenizer.texts import ordinary_text
from zigai_tokenizers.unigram import UnigramTokenizer
from zigai_tokenizers.words import SPLIT_AT_SPACES

PRECOMPILED = ("Precompiled",)
WORDS: dict[str, Any] = {"prefix_scheme": "always", "splits": (SPLIT_AT_SPACES,)}


def charsmap_of(longest: int) -> bytes:
    """A character map that maps nothing, with a replacement text of `longest` bytes."""
    return (1024).to_bytes(4, "little") + bytes(1024) + b"a" * longest + b"\0"


CASES: dict[str, tuple[Any, Callable[[bytes], Any], dict[str, Any]]] = {
    "xlm-r": (
        p.Sequence([p.WhitespaceSplit(), p.Metaspace()]),
        n.Precompiled,
        {"normalizers": [PRECOMPILED], "white_space_ends_words": True, **WORDS},
    ),
    "bge-m3": (
        p.Metaspace(),
        lambda charsmap: n.Sequence(
            [n.Precompiled(charsmap), n.Strip(left=False, right=True), n.Replace(Regex(" {2,}"), "▁")]
        ),
        {"normalizers": [PRECOMPILED, ("Strip", "right"), ("Spaces", "▁")], **WORDS},
    ),
    "albert": (
        p.Metaspace(),
        lambda charsmap: n.Sequence(
            [
                n.Replace("``", '"'),
                n.NFKD(),
                n.StripAccents(),
                n.Lowercase(),
                n.Precompiled(charsmap),
                n.Strip(),
            ]
        ),
        {
            "normalizers": [
                ("Replace", "``", '"'),
                ("NFKD",),
                ("StripAccents",),
                ("Lowercase",),
                PRECOMPILED,
                ("Strip", "left right"),
            ],
            **WORDS,
        },
    ),
    "whole texts": (
        p.Metaspace(split=False, prepend_scheme="never"),
        lambda _: n.Sequence([n.Nmt(), n.NFKC()]),
        {"normalizers": [("Nmt",), ("NFKC",)], "prefix_scheme": "always", "add_space_prefix": False},
    ),
    "first": (p.Metaspace(prepend_scheme="first"), lambda _: None, {**WORDS, "prefix_scheme": "first"}),
    "white space alone": (
        p.Sequence([p.WhitespaceSplit(), p.Metaspace(split=False, prepend_scheme="never")]),
        lambda _: n.Sequence([n.NFC(), n.NFD(), n.Strip(right=False)]),
        {
            "normalizers": [("NFC",), ("NFD",), ("Strip", "left")],
            "prefix_scheme": "always",
            "add_space_prefix": False,
            "white_space_ends_words": True,
        },
    ),
}


def spec_for(name: str, *, byte_fallback: bool = False) -> TokenizerSpec:
    """The vocabulary as tokenizer.json has it, with scores of 64 bits that 32 cannot hold."""
    model = trained(byte_fallback=byte_fallback)
    spec = spec_of(model, kind="unigram", remove_extra_whitespaces=False, **CASES[name][2])
    assert spec.scores is not None
    scores = spec.scores.astype(np.float64)
    return replace(spec, scores=scores * np.where(scores == -1.0, 1, 1 + 1e-9))


def library_of(name: str, spec: TokenizerSpec, *, byte_fallback: bool = False) -> Library:
    pre_tokenizer, normalizer, _ = CASES[name]
    assert spec.scores is not None
    library = Library(Unigram(list(zip(spec.tokens, spec.scores.tolist(), strict=True)), 0, byte_fallback))
    library.pre_tokenizer = pre_tokenizer
    built = normalizer(spec.precompiled_charsmap or b"")
    if built is not None:
        library.normalizer = built
    library.add_special_tokens(["<unk>", "<s>", "</s>"])
    return library


def test_the_class_implements_tokenizer_and_is_registered() -> None:
    assert isinstance(UnigramTokenizer(spec_for("xlm-r")), Tokenizer)
    [entry] = entry_points(group="zigai.tokenizers", name="unigram")
    assert entry.load() is UnigramTokenizer


@pytest.mark.parametrize("byte_fallback", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_ids_are_those_of_the_library(name: str, byte_fallback: bool) -> None:
    spec = spec_for(name, byte_fallback=byte_fallback)
    library = library_of(name, spec, byte_fallback=byte_fallback)
    tokenizer = UnigramTokenizer(spec)
    texts = [*hostile_texts(list(spec.tokens)), "a<s>a </s> a", " <s> <s>\u3000a", ordinary_text(200_000)]
    assert len(texts) > 2000
    for text in texts:
        expected = library.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text, special=True) == expected, ascii(text[:300])


def test_control_tokens_are_never_produced_by_normalised_text() -> None:
    """Unlike in the library, whose model has them among its tokens."""
    spec = spec_for("bge-m3")
    text = "\uff1cs\uff1e \uff1cunk\uff1e"
    assert library_of("bge-m3", spec).encode(text).ids.count(1) == 1
    tokenizer = UnigramTokenizer(spec)
    for special in (False, True):
        tokens = tokenizer.encode(text, special=special)
        assert 1 not in tokens
        assert 0 not in tokens
    assert 1 not in tokenizer.encode("<s>")


def small(tokens: dict[str, float], **changes: Any) -> TokenizerSpec:
    return TokenizerSpec(
        **{
            "kind": "unigram",
            "tokens": ["<unk>", *tokens],
            "scores": np.array([0, *tokens.values()], np.float64),
            "special_ids": {"unknown": 0},
            **WORDS,
            **changes,
        }
    )


def test_a_token_outside_the_model_is_found_by_its_spelling_alone() -> None:
    """Tokens that were added to the vocabulary; normalised text cannot give them."""
    types = np.array([2, 1, 1, 4], np.int32)
    spec = small({"\u2581": -1, "a": -1, "aa": -math.inf}, types=types, normalizers=[("NFKC",)])
    tokenizer = UnigramTokenizer(spec)
    assert tokenizer.encode("aaa") == [3, 1, 2]
    assert tokenizer.encode("\uff41\uff41") == [1, 2, 2]


def test_decoding_removes_the_space_that_encoding_adds() -> None:
    types = np.array([2, 1, 1, 1, 3], np.int32)
    spec = small({"\u2581": -1, "a": -1, "\u2581a": -1, "<s>": 0}, types=types)
    for scheme, text in (("always", "a a<s>a"), ("first", "a a<s> a")):
        tokenizer = UnigramTokenizer(replace(spec, prefix_scheme=scheme))
        assert tokenizer.decode(tokenizer.encode(text, special=True), special=True) == text
    spec = replace(spec, special_ids={"unknown": 0, "bos": 4}, add_bos=True)
    assert UnigramTokenizer(spec).decode(UnigramTokenizer(spec).encode("a a")) == "a a"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"normalizer": "NFC"}, "the normalizer 'NFC' is not supported with Unigram"),
        ({"splits": (r"\s",)}, "Unigram cannot split texts by"),
        ({"prefix_scheme": "prepend"}, "prefix_scheme 'prepend' is not supported"),
        ({"prefix_scheme": "first", "normalizers": [("NFC",)]}, "a space before the first text only"),
        ({"prefix_scheme": "first", "white_space_ends_words": True}, "a space before the first text only"),
        ({"normalizers": [("Casefold",)]}, r"the step of normalisation \['Casefold'\] is not supported"),
        ({"normalizers": [("Strip", "middle")]}, "'middle'.* is not supported"),
        ({"normalizers": [("Spaces", "ab")]}, "'Spaces'.* is not supported"),
        ({"normalizers": [("Replace", "", "b")]}, "the first text must not be empty"),
        ({"normalizers": [("Replace", "a", "b" * 65)]}, "at most 64 characters"),
        ({"normalizers": [("Replace", "a", "a" * 33)] * 2}, "can make a text 1089 times as long"),
        (
            {"normalizers": [PRECOMPILED] * 2, "precompiled_charsmap": charsmap_of(40)},
            "can make a text 1600 times as long",
        ),
        ({"normalizers": [("NFC",)] * 65}, "a normalisation of 65 steps: at most 64 are supported"),
    ],
)
def test_what_is_not_supported_is_refused(changes: dict[str, Any], error: str) -> None:
    with pytest.raises(UnsupportedError, match=error):
        UnigramTokenizer(small({"a": -1}, **changes))


def test_steps_that_make_a_text_a_thousand_times_as_long_are_read() -> None:
    steps = [("Replace", "a", "a" * 32)] * 2 + [("NFC",)] * 62
    tokenizer = UnigramTokenizer(small({"a": -1}, normalizers=steps, add_space_prefix=False))
    assert tokenizer.encode("a", bos=False) == [1] * 1024
    UnigramTokenizer(small({"a": -1}, normalizers=[PRECOMPILED], precompiled_charsmap=charsmap_of(1024)))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"normalizers": [PRECOMPILED]}, "precompiled_charsmap, which is missing"),
        (
            {"normalizers": [PRECOMPILED], "precompiled_charsmap": b"abcdef"},
            "precompiled_charsmap has an array",
        ),
        ({"scores": None}, "has no scores"),
        ({"scores": np.zeros(3)}, "2 tokens but scores of shape"),
        ({"scores": np.zeros(2, np.int64)}, "2 tokens but scores of shape .* dtype int64"),
        ({"scores": np.array([0, math.nan])}, "the score of token 1 is NaN"),
        ({"scores": np.array([0, math.inf])}, "the score of token 1 is inf"),
        ({"special_ids": {}}, "has no unknown token"),
    ],
)
def test_an_inconsistent_vocabulary_is_an_error(changes: dict[str, Any], error: str) -> None:
    with pytest.raises(FormatError, match=error):
        UnigramTokenizer(small({"a": -1}, **changes))


def test_a_token_that_would_make_the_search_slow_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="has 513 characters"):
        UnigramTokenizer(small({"a" * 513: -1}))


def test_the_steps_of_the_search_are_linear_in_the_text() -> None:
    """Of a vocabulary of runs of a character, for texts that are one: counted look-ups, not time."""

    class Counting(dict[str, tuple[int, float]]):
        asked = 0

        def get(self, *arguments: Any) -> Any:
            Counting.asked += 1
            return super().get(*arguments)

    tokenizer = UnigramTokenizer(small({"a" * length: -length - 0.5 for length in range(1, 100)}))
    tokenizer._viterbi._scores = Counting(tokenizer._viterbi._scores)
    asked = []
    for length in (1000, 2000, 4000):
        Counting.asked = 0
        tokenizer.encode("a" * length)
        asked.append(Counting.asked)
    assert asked[0] > 50_000
    assert asked[2] < 4.2 * asked[0]


def test_a_long_text_and_a_large_vocabulary_take_memory_in_proportion() -> None:
    spec = spec_for("bge-m3")
    tokenizer = UnigramTokenizer(spec)
    for text in (ordinary_text(1 << 20), "ab" * (1 << 19)):
        assert peak_bytes(lambda text=text: tokenizer.encode(text)) < 120 * len(text)  # type: ignore[misc]
    tokens = {f"\u2581{number:x}token": -float(number) for number in range(200_000)}
    large = small(tokens)
    size = sum(len(text.encode()) + 16 for text in large.tokens)
    assert peak_bytes(lambda: UnigramTokenizer(large)) < 2 * size + (64 << 20)


def test_a_failure_of_the_library_is_a_tokenizer_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    class Failing:
        def normalize_str(self, text: str) -> str:
            raise PanicException("index out of bounds")

    tokenizer = UnigramTokenizer(spec_for("xlm-r"))
    monkeypatch.setattr(tokenizer, "_normalizer", Failing())
    with pytest.raises(TokenizerError, match="failed on the text: index out of bounds"):
        tokenizer.encode("a")


def test_an_unknown_character_costs_ten_more_than_the_lowest_score() -> None:
    for score, expected in ((9.9, [2]), (10.1, [0, 1])):
        spec = small({"a": score, "xa": -5.0, "b": -math.inf}, add_space_prefix=False)
        assert UnigramTokenizer(spec).encode("xa") == expected


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_map_is_an_error_or_harmless(data: st.DataObject) -> None:
    spec = spec_for("bge-m3")
    blob = bytearray(spec.precompiled_charsmap or b"")
    for _ in range(data.draw(st.integers(1, 300))):
        blob[data.draw(st.integers(4, len(blob) - 2))] = data.draw(st.integers(0, 255))
    try:
        tokenizer = UnigramTokenizer(replace(spec, precompiled_charsmap=bytes(blob)))
        tokenizer.encode("abracadabra ﬁ ① é가" + "".join(map(chr, range(1, 0x600))))
    except (FormatError, TokenizerError):
        return


def test_types_of_the_vocabulary_decide_what_a_text_may_contain() -> None:
    types = np.array([2, 1, 5, CONTROL], np.int32)
    tokenizer = UnigramTokenizer(small({"\u2581": -1, "a": -1, "b": -1}, types=types))
    assert tokenizer.encode("ab") == [1, 0]
