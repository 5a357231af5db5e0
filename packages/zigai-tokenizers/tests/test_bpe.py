from __future__ import annotations

import time
from dataclasses import replace
from importlib.metadata import entry_points
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, TokenizerError, UnsupportedError
from zigai_core.contracts.plugins import Tokenizer
from zigai_core.text.stream import TextStream
from zigai_tokenizers.bpe import BPETokenizer
from zigai_tokenizers.byte_tokens import SPACE

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
MERGES = (
    "▁ t|h e|▁t he|▁ a|▁a n|▁an d|l l|e l|el l|h ell|hell o|▁ hello|▁ ▁|▁▁ ▁▁|> ▁|>▁ a|a a|aa a|a aa"
    "|é 你|< s|<s >"
)
SPECIAL = {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL, "<tool>": USER_DEFINED, "[UNUSED]": UNUSED}


def make_spec(**changes: Any) -> TokenizerSpec:
    merges = MERGES.split("|")
    pieces = [part for merge in merges for part in (*merge.split(" "), merge.replace(" ", ""))]
    texts = dict.fromkeys([*pieces, *"thelowrdnay\n.123<s>"])
    kinds = {
        **SPECIAL,
        **{f"<0x{byte:02X}>": BYTE for byte in range(256)},
        **{text: NORMAL for text in texts if text not in SPECIAL},
    }
    tokens = list(kinds)
    spec = TokenizerSpec(
        kind="bpe",
        tokens=tokens,
        types=np.array(list(kinds.values()), np.int32),
        merges=merges,
        special_ids={"unknown": 0, "bos": 1, "eos": 2},
        end_ids=frozenset({2}),
        add_bos=True,
        splits=(),
    )
    return replace(spec, **changes)


SPEC = make_spec()
TOKENIZER = BPETokenizer(SPEC)
SCHEMES = ("prepend", "always", "first")


def reference_encode(spec: TokenizerSpec, text: str) -> list[int]:
    """BPE by definition: merge the earliest pair, the leftmost of equals; other characters become bytes."""
    assert spec.merges is not None
    plain = {text: token for token, text in enumerate(spec.tokens) if text not in SPECIAL}
    ranks = {tuple(m.split(" ")): rank for rank, m in enumerate(spec.merges) if m.replace(" ", "") in plain}
    symbols = list(text.replace(" ", SPACE))
    while True:
        pairs = [ranks.get(pair, len(spec.merges)) for pair in pairwise(symbols)]
        if min(pairs, default=len(spec.merges)) == len(spec.merges):
            break
        at = pairs.index(min(pairs))
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
    tokens: list[int] = []
    for symbol in symbols:
        tokens += (
            [plain[symbol]]
            if symbol in plain
            else [spec.tokens.index(f"<0x{byte:02X}>") for byte in symbol.encode()]
        )
    return tokens


any_text = st.text(max_size=60)
likely_text = st.text("the lando a>é你🙂<s/\n\0\u2581", max_size=60)


def test_the_class_implements_tokenizer_and_is_registered() -> None:
    assert isinstance(TOKENIZER, Tokenizer)
    for entry in entry_points(group="zigai.tokenizers", name="bpe"):
        assert entry.load() is BPETokenizer


@given(text=any_text | likely_text, prefix=st.booleans(), scheme=st.sampled_from(SCHEMES))
def test_tokens_equal_those_of_the_reference(text: str, prefix: bool, scheme: Any) -> None:
    text = text.replace("<tool>", "")
    tokenizer = cached(prefix, scheme)
    given_space = text[:1] in (" ", SPACE) and scheme != "prepend"
    put = " " if prefix and text and not given_space else ""
    assert tokenizer.encode(text, bos=False) == reference_encode(SPEC, put + text)


TOKENIZERS: dict[tuple[bool, Any], BPETokenizer] = {}


def cached(prefix: bool, scheme: Any) -> BPETokenizer:
    key = (prefix, scheme)
    if key not in TOKENIZERS:
        TOKENIZERS[key] = BPETokenizer(make_spec(add_space_prefix=prefix, prefix_scheme=scheme))
    return TOKENIZERS[key]


@given(text=any_text | likely_text, special=st.booleans())
def test_decode_is_the_inverse_of_encode(text: str, special: bool) -> None:
    text = text.replace(SPACE, "")
    for prefix, scheme in ((True, "prepend"), (False, "prepend"), (False, "always")):
        tokenizer = cached(prefix, scheme)
        assert tokenizer.decode(tokenizer.encode(text)) == text
        tokens = tokenizer.encode(text, special=special, bos=False)
        assert tokenizer.decode(tokens, special=True) == text
        stream = TextStream(tokenizer)
        shown = tokenizer.encode(text, bos=False)
        assert "".join(map(stream.push, shown)) + stream.finish() == text


def test_a_space_is_put_before_texts_by_the_scheme() -> None:
    the = [SPEC.tokens.index("▁the")]
    bare = reference_encode(SPEC, "the")
    text = "the<tool>the<tool> the"
    tool = [SPEC.tokens.index("<tool>")]
    for scheme, parts in (
        ("prepend", [the, the, reference_encode(SPEC, "  the")]),
        ("always", [the, the, the]),
        ("first", [the, bare, the]),
    ):
        tokenizer = cached(True, scheme)
        first, second, third = parts
        tokens = [*first, *tool, *second, *tool, *third]
        assert tokenizer.encode(text) == [1, *tokens]
    assert cached(True, "first").decode(cached(True, "first").encode(text)) == text
    assert cached(True, "first").encode("<tool>the", bos=False) == [*tool, *bare]


def test_a_character_split_over_byte_tokens_is_streamed_whole() -> None:
    tokens = TOKENIZER.encode("🙂 the", bos=False)
    assert [TOKENIZER.token_text(token) for token in tokens[1:5]] == ["<0xF0>", "<0x9F>", "<0x99>", "<0x82>"]
    stream = TextStream(TOKENIZER)
    assert [stream.push(token) for token in tokens] == ["", "", "", "", "🙂", " the"]
    assert TOKENIZER.decode(tokens[2:3]) == "\ufffd"
    assert TOKENIZER.decode_bytes(tokens) == " 🙂 the".encode()


def test_control_and_unused_tokens_are_not_plain_text() -> None:
    for text in ("<s>", "</s>", "<unk>", "[UNUSED]"):
        token = SPEC.tokens.index(text)
        assert token not in TOKENIZER.encode(text, bos=False)
        assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
        assert (TOKENIZER.encode(text, special=True, bos=False) == [token]) == (text != "[UNUSED]")
    assert TOKENIZER.encode("</s>", special=True, guards=[2], bos=False) == TOKENIZER.encode(
        "</s>", bos=False
    )


def test_a_whole_text_or_word_that_is_a_token_is_not_merged() -> None:
    tokens = ["hello", "and▁the", "[UNUSED]"]
    extra = make_spec(
        tokens=[*SPEC.tokens, "and▁the"],
        types=np.append(SPEC.types if SPEC.types is not None else [], NORMAL).astype(np.int32),
        add_space_prefix=False,
    )
    number = len(extra.tokens) - 1
    assert number not in BPETokenizer(extra).encode("and the")
    whole = BPETokenizer(replace(extra, ignore_merges=True))
    assert whole.encode("and the", bos=False) == [number]
    assert number not in whole.encode("and the and the")
    assert whole.decode(whole.encode(tokens[2])) == tokens[2]
    split = replace(extra, ignore_merges=True, splits=("▁[^▁]*",))
    assert number not in BPETokenizer(split).encode("and the")
    assert BPETokenizer(split).encode("hello hello", bos=False) == [
        extra.tokens.index("hello"),
        extra.tokens.index("▁hello"),
    ]


def test_splits_end_words() -> None:
    spec = make_spec(splits=("▁[^▁]*",), add_space_prefix=False)
    assert BPETokenizer(spec).encode("    ", bos=False) == [SPEC.tokens.index("▁")] * 4
    spec = make_spec(splits=("[0-9]", "l"), add_space_prefix=False)
    assert BPETokenizer(spec).encode("hello", bos=False) == [
        SPEC.tokens.index(text) for text in ("he", *"llo")
    ]
    with pytest.raises(FormatError, match="are not valid"):
        BPETokenizer(make_spec(splits=("(",)))


def test_normalised_and_stripping_tokens() -> None:
    tool = SPEC.tokens.index("<tool>")
    late = BPETokenizer(make_spec(normalized=frozenset({tool}), add_space_prefix=True))
    assert late.encode("<tool>the", bos=False)[0] == tool  # after the space that is put before the text
    assert tool not in late.encode("a<tool>", bos=False)
    stripping = BPETokenizer(make_spec(strip_left=frozenset({tool}), strip_right=frozenset({tool})))
    the = stripping.encode("the", bos=False)
    assert stripping.encode("the \n\t<tool> \u3000the", bos=False) == [*the, tool, *the]


def test_guards_hold_in_normalised_text() -> None:
    tokenizer = BPETokenizer(make_spec(normalized=frozenset({1, 2}), add_space_prefix=False))
    text = "the </s>"
    assert tokenizer.encode(text, special=True, bos=False)[-1] == 2
    for guard in range(5, 8):
        assert 2 not in tokenizer.encode(text, special=True, bos=False, guards=[0, guard])


def test_composed_texts_have_the_same_ids() -> None:
    tokenizer = BPETokenizer(make_spec(normalizer="NFC"))
    assert tokenizer.encode("e\u0301") == tokenizer.encode("\u00e9") == TOKENIZER.encode("\u00e9")
    assert TOKENIZER.encode("e\u0301") != TOKENIZER.encode("\u00e9")


def test_long_texts_take_linear_time() -> None:
    for text in (
        "a" * 200_000,
        " " * 200_000,
        "the " * 100_000,
        "🙂" * 50_000,
        "<s" * 100_000,
        "> " * 100_000,
    ):
        begin = time.perf_counter()
        tokens = TOKENIZER.encode(text)
        assert time.perf_counter() - begin < 5
        assert TOKENIZER.decode(tokens) == text


def test_an_inconsistent_vocabulary_is_refused() -> None:
    tab = list(SPEC.tokens)
    tab[tab.index("<0x09>")] = "\t"
    kinds = np.array(SPEC.types)
    kinds[tab.index("\t")] = NORMAL
    assert BPETokenizer(make_spec(tokens=tab, types=kinds)).encode("\t")[-1] == tab.index("\t")
    tab[tab.index("\t")] = "\t\t"
    with pytest.raises(FormatError, match="<0x09> is missing"):
        BPETokenizer(make_spec(tokens=tab, types=kinds))
    with pytest.raises(FormatError, match="no byte tokens"):
        BPETokenizer(make_spec(types=np.where(kinds == BYTE, NORMAL, kinds)))
    with pytest.raises(FormatError, match="no merges"):
        BPETokenizer(make_spec(merges=None))
    with pytest.raises(FormatError, match="needs 'x', which is not a token"):
        BPETokenizer(make_spec(merges=["a x"]))
    with pytest.raises(UnsupportedError, match="'NFKC' is not supported"):
        BPETokenizer(make_spec(normalizer="NFKC"))
    with pytest.raises(TokenizerError, match="lone surrogate"):
        TOKENIZER.encode("\ud800")
