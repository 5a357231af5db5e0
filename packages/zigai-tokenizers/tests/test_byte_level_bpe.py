from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, TokenizerError, UnsupportedError
from zigai_core.contracts.plugins import Tokenizer
from zigai_tokenizers.byte_alphabet import CHARACTERS
from zigai_tokenizers.byte_level_bpe import ByteLevelBPETokenizer
from zigai_tokenizers.pre_tokenizers import PreTokenizer

Extend = Callable[..., TokenizerSpec]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = range(1, 6)
PAIRS = (
    "Ġ t|h e|i n|Ġt he|r e|o n|in g|Ġ a|n d|Ġa nd|l l|e ll|h ell|hell o|Ġ hello"
    "|Ã ©|ä ½|ä½ ł|Ġ Ġ|ĠĠ ĠĠ|1 2|12 3"
)
SIMPLE = PreTokenizer((r" ?[a-z]+|[0-9]+",))
"""A pre-tokeniser whose pattern is valid for Python's `re`."""


@pytest.fixture(scope="module")
def bpe_spec() -> TokenizerSpec:
    merges = PAIRS.split("|")
    tokens = [
        *CHARACTERS,
        *(merge.replace(" ", "") for merge in merges),
        "<|end|>",
        "<|start|>",
        "<think>",
        "house",
    ]
    types = np.full(len(tokens), NORMAL, dtype=np.int32)
    types[-4:] = [CONTROL, CONTROL, USER_DEFINED, NORMAL]
    return TokenizerSpec(
        kind="gpt2",
        tokens=tokens,
        types=types,
        merges=merges,
        pre_tokenizer="gpt-2",
        special_ids={"bos": tokens.index("<|start|>"), "eos": tokens.index("<|end|>")},
        end_ids=frozenset({tokens.index("<|end|>")}),
    )


@pytest.fixture(scope="module")
def bpe(bpe_spec: TokenizerSpec) -> ByteLevelBPETokenizer:
    return ByteLevelBPETokenizer(bpe_spec)


def reference_encode(spec: TokenizerSpec, text: str) -> list[int]:
    """Byte-level BPE by definition: in each word, merge the earliest pair, the leftmost of equals."""
    assert spec.merges is not None
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(spec.merges)}
    tokens = []
    for word in re.split(f"({SIMPLE.patterns[0]})", text):
        symbols = [CHARACTERS[byte] for byte in word.encode()]
        while True:
            pairs = [ranks.get(pair, len(ranks)) for pair in pairwise(symbols)]
            if min(pairs, default=len(ranks)) == len(ranks):
                break
            at = pairs.index(min(pairs))
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
        tokens += [spec.tokens.index(symbol) for symbol in symbols]
    return tokens


any_text = st.text(max_size=60)
likely_text = st.text("the lando inrg123é你<|>/\0\n", max_size=60)


def test_the_entry_point_names_a_class_that_implements_tokenizer(bpe: ByteLevelBPETokenizer) -> None:
    (entry,) = [e for e in entry_points(group="zigai.tokenizers") if e.name == "gpt2"]
    assert entry.load() is ByteLevelBPETokenizer
    assert isinstance(bpe, Tokenizer)


@given(text=any_text | likely_text)
def test_tokens_equal_those_of_the_reference(bpe_spec: TokenizerSpec, text: str) -> None:
    tokenizer = ByteLevelBPETokenizer(bpe_spec, pre_tokenizer=SIMPLE)
    text = text.replace("<think>", "")
    assert tokenizer.encode(text) == reference_encode(bpe_spec, text)


@settings(max_examples=300)
@given(text=any_text | likely_text, special=st.booleans())
def test_decode_is_the_inverse_of_encode(bpe: ByteLevelBPETokenizer, text: str, special: bool) -> None:
    assert bpe.decode(bpe.encode(text)) == text
    assert bpe.decode(bpe.encode(text, special=special), special=True) == text


def test_control_tokens_are_parsed_only_with_special(
    bpe_spec: TokenizerSpec, bpe: ByteLevelBPETokenizer
) -> None:
    start, end = bpe.special_ids["bos"], bpe.special_ids["eos"]
    text = "<|start|>hello<|end|>"
    hello = bpe.encode("hello")
    assert bpe.encode(text, special=True) == [start, *hello, end]
    assert bpe.encode("hello", bos=True) == [start, *hello]
    plain = bpe.encode(text)
    assert not {start, end}.intersection(plain)
    assert bpe.decode(plain) == text
    assert bpe.decode([start, *hello, end]) == "hello"
    assert bpe.decode([start, *hello, end], special=True) == text


def test_user_defined_tokens_are_found_in_every_text(
    bpe_spec: TokenizerSpec, bpe: ByteLevelBPETokenizer
) -> None:
    think = bpe_spec.tokens.index("<think>")
    assert bpe.encode(" the<think> the") == [*bpe.encode(" the"), think, *bpe.encode(" the")]
    assert bpe.decode([think]) == "<think>"


def test_the_text_of_special_tokens_is_not_in_the_byte_alphabet(
    bpe_spec: TokenizerSpec, extend: Extend
) -> None:
    tokenizer = ByteLevelBPETokenizer(extend(bpe_spec, [("<été>", USER_DEFINED), ("<Ġ>", CONTROL)]))
    ete, control = len(bpe_spec.tokens), len(bpe_spec.tokens) + 1
    assert tokenizer.encode("<été><Ġ>", special=True) == [ete, control]
    assert tokenizer.decode([ete, control], special=True) == "<été><Ġ>"


def test_whole_words_need_no_merges_with_a_whole_words_pre_tokeniser(bpe_spec: TokenizerSpec) -> None:
    house = bpe_spec.tokens.index("house")
    with_words = ByteLevelBPETokenizer(replace(bpe_spec, pre_tokenizer="llama-bpe"))
    assert with_words.encode("house") == [house]
    assert house not in ByteLevelBPETokenizer(bpe_spec).encode("house")


def test_a_whole_word_spelt_as_a_control_token_is_plain_text(bpe_spec: TokenizerSpec, extend: Extend) -> None:
    spec = extend(bpe_spec, [("stop", CONTROL)], pre_tokenizer="llama-bpe")
    tokens = ByteLevelBPETokenizer(spec).encode("stop")
    assert len(bpe_spec.tokens) not in tokens
    assert ByteLevelBPETokenizer(spec).decode(tokens) == "stop"


def test_a_merge_into_a_control_token_is_omitted(bpe_spec: TokenizerSpec, extend: Extend) -> None:
    assert bpe_spec.merges is not None
    spec = extend(bpe_spec, [("st", CONTROL)], merges=[*bpe_spec.merges, "s t"])
    assert len(bpe_spec.tokens) not in ByteLevelBPETokenizer(spec).encode("st the")
    assert ByteLevelBPETokenizer(spec).encode(" the") == ByteLevelBPETokenizer(bpe_spec).encode(" the")


def test_a_normal_token_outside_the_byte_alphabet_decodes_to_its_text(
    bpe_spec: TokenizerSpec, extend: Extend
) -> None:
    tokenizer = ByteLevelBPETokenizer(extend(bpe_spec, [("<｜begin▁of▁text｜>", NORMAL)]))
    assert tokenizer.decode([len(bpe_spec.tokens)]) == "<｜begin▁of▁text｜>"


def test_a_byte_without_a_token_is_an_error_only_in_a_text(bpe_spec: TokenizerSpec) -> None:
    tokens = list(bpe_spec.tokens)
    tokens[0xF4] = "[gone]"
    tokenizer = ByteLevelBPETokenizer(replace(bpe_spec, tokens=tokens))
    assert tokenizer.decode(tokenizer.encode("hello é")) == "hello é"
    with pytest.raises(TokenizerError, match="byte 0xF4, which has no token"):
        tokenizer.encode("hello \U0010ffff")


def test_a_lone_surrogate_is_an_error(bpe: ByteLevelBPETokenizer) -> None:
    with pytest.raises(TokenizerError, match=r"lone surrogate, U\+DC00, at character 2"):
        bpe.encode("ab\udc00")


def test_parts_of_a_character_decode_to_bytes_and_to_u_fffd(bpe: ByteLevelBPETokenizer) -> None:
    tokens = bpe.encode("\U0001f999")
    assert [bpe.decode_bytes([token]) for token in tokens] == [b"\xf0", b"\x9f", b"\xa6", b"\x99"]
    assert bpe.decode(tokens[:3]) == "\ufffd"


@pytest.mark.parametrize(
    ("merges", "message"),
    [
        (None, "has no merges"),
        (["h e", "i n", "h e"], "merges 0 and 2 are both 'h e'"),
        (["h e", "he"], "merge 1 is 'he' and '', which are not two tokens"),
        (["h e x"], "merge 0 is 'h' and 'e x', which are not two tokens"),
        ([""], "merge 0 is '' and '', which are not two tokens"),
        (["h e", "q q"], "merge 1, 'q' with 'q', needs 'qq', which is not a token"),
        (["zz e"], "needs 'zz', which is not a token"),
    ],
)
def test_an_invalid_merge_is_an_error_that_names_it(
    bpe_spec: TokenizerSpec, merges: list[str] | None, message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        ByteLevelBPETokenizer(replace(bpe_spec, merges=merges))


def test_an_unknown_pre_tokeniser_is_an_error_unless_overridden(bpe_spec: TokenizerSpec) -> None:
    unknown = replace(bpe_spec, pre_tokenizer="zebra")
    with pytest.raises(UnsupportedError, match="'zebra'"):
        ByteLevelBPETokenizer(unknown)
    assert ByteLevelBPETokenizer(unknown, pre_tokenizer=SIMPLE).decode([0x41]) == "A"


@pytest.mark.parametrize("name", ["llama-bpe", "gpt-4o"])
@pytest.mark.parametrize(
    "text", ["a" * 10**6, "A" * 10**6, " " * 10**6 + "x", "1" * 10**6, "<|start|" * 125_000]
)
def test_a_megabyte_without_a_break_takes_linear_time(bpe_spec: TokenizerSpec, name: str, text: str) -> None:
    tokenizer = ByteLevelBPETokenizer(replace(bpe_spec, pre_tokenizer=name))
    start = time.process_time()
    tokens = tokenizer.encode(text, special=True)
    assert time.process_time() - start < 20
    assert tokenizer.decode(tokens) == text


def test_a_panic_of_the_library_is_a_tokenizer_error(
    bpe: ByteLevelBPETokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PanicException(BaseException):
        pass

    class Panicking:
        def encode_batch_fast(self, texts: list[str], add_special_tokens: bool) -> None:
            raise PanicException("retry-limit-in-match over")

    monkeypatch.setattr(bpe, "_tokenizer", Panicking())
    with pytest.raises(TokenizerError, match="failed on the text: retry-limit"):
        bpe.encode("x")
