from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, TokenizerError
from zigai_core.contracts.plugins import Tokenizer
from zigai_core.text.stream import TextStream
from zigai_tokenizers.sentencepiece import SentencePieceTokenizer

Extend = Callable[..., TokenizerSpec]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def reference_encode(spec: TokenizerSpec, text: str) -> list[int]:
    """SentencePiece BPE by definition: merge the best pair, the leftmost of equals, until none remains."""
    assert spec.scores is not None
    assert spec.types is not None
    mergeable = {
        token: (float(spec.scores[index]), index)
        for index, token in enumerate(spec.tokens)
        if spec.types[index] in (NORMAL, USER_DEFINED)
    }
    symbols = list(("\u2581" if spec.add_space_prefix and text else "") + text.replace(" ", "\u2581"))
    while True:
        best = None
        for at in range(len(symbols) - 1):
            found = mergeable.get(symbols[at] + symbols[at + 1])
            if found and (best is None or found[0] > best[0]):
                best = (found[0], at)
        if best is None:
            break
        at = best[1]
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
    tokens = []
    for symbol in symbols:
        if symbol in mergeable:
            tokens.append(mergeable[symbol][1])
        else:
            tokens += [spec.tokens.index(f"<0x{byte:02X}>") for byte in symbol.encode()]
    return tokens


@pytest.fixture(scope="module")
def tokenizer(spec: TokenizerSpec) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(spec)


any_text = st.text(max_size=60)
likely_text = st.text("the quickloorfx wnav 🙂éß你好\u2581\0\n\t<s>/0xA", max_size=60)


def test_the_entry_point_names_a_class_that_implements_tokenizer(tokenizer: SentencePieceTokenizer) -> None:
    (entry,) = [e for e in entry_points(group="zigai.tokenizers") if e.name == "llama"]
    assert entry.load() is SentencePieceTokenizer
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.special_ids == {"bos": 1, "eos": 2, "unknown": 0}
    assert tokenizer.end_ids == frozenset({2})


@given(text=any_text | likely_text)
def test_tokens_equal_those_of_the_reference(
    spec: TokenizerSpec, tokenizer: SentencePieceTokenizer, text: str
) -> None:
    assert tokenizer.encode(text, bos=False) == reference_encode(spec, text)


@settings(max_examples=300)
@given(text=any_text | likely_text, special=st.booleans())
def test_decode_is_the_inverse_of_encode(tokenizer: SentencePieceTokenizer, text: str, special: bool) -> None:
    text = text.replace("\u2581", " ")
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode(text, bos=False)) == text
    assert tokenizer.decode(tokenizer.encode(text, bos=False, special=special), special=True) == text


def test_control_tokens_written_in_a_text_are_plain_text(tokenizer: SentencePieceTokenizer) -> None:
    text = "<s>the</s><unk><0x41>"
    tokens = tokenizer.encode(text, bos=False)
    assert not {0, 1, 2}.intersection(tokens)
    assert 3 + 0x41 not in tokens
    assert tokenizer.decode(tokens) == text


def test_merges_do_not_produce_control_tokens(spec: TokenizerSpec, extend: Extend) -> None:
    # `<` and `s>` would merge into `<s>` if control tokens took part.
    tokenizer = SentencePieceTokenizer(extend(spec, [("s>", NORMAL), ("<", NORMAL), ("!", CONTROL)]))
    tokens = tokenizer.encode("<s>!", bos=False)
    assert 1 not in tokens
    assert len(spec.tokens) + 2 not in tokens
    assert tokenizer.decode(tokens) == "<s>!"


def test_control_tokens_are_parsed_with_special(tokenizer: SentencePieceTokenizer) -> None:
    tokens = tokenizer.encode("<s> the fox</s>dog", bos=False, special=True)
    expected = [1, *tokenizer.encode(" the fox", bos=False), 2, *tokenizer.encode("dog", bos=False)]
    assert tokens == expected
    assert tokenizer.decode(tokens, special=True) == "<s> the fox</s>dog"
    assert tokenizer.decode(tokens) == " the foxdog"
    assert tokenizer.decode(tokenizer.encode("fox<unk> dog", special=True), special=True) == "<s>fox<unk> dog"


def test_user_defined_tokens_are_found_in_every_text(spec: TokenizerSpec, extend: Extend) -> None:
    tokenizer = SentencePieceTokenizer(extend(spec, [("<think>", USER_DEFINED), ("<think>>", USER_DEFINED)]))
    think = len(spec.tokens)
    for special in (False, True):
        tokens = tokenizer.encode("fox<think>dog <think>> x", bos=False, special=special)
        dog, x = tokenizer.encode("dog ", bos=False), tokenizer.encode(" x", bos=False)
        assert tokens == [*tokenizer.encode("fox", bos=False), think, *dog, think + 1, *x]
        assert tokenizer.decode(tokens) == "fox<think>dog <think>> x"


def test_user_defined_spaces_are_found_in_both_spellings(spec: TokenizerSpec, extend: Extend) -> None:
    for stored in ("\u2581" * 7, " " * 7):
        tokenizer = SentencePieceTokenizer(extend(spec, [(stored, USER_DEFINED)], add_space_prefix=False))
        tokens = tokenizer.encode("fox       dog", bos=False)
        assert len(spec.tokens) in tokens
        assert tokenizer.decode(tokens) == "fox       dog"


def test_the_file_can_disable_the_space_prefix(spec: TokenizerSpec) -> None:
    tokenizer = SentencePieceTokenizer(replace(spec, add_space_prefix=False))
    assert tokenizer.encode("fox") != SentencePieceTokenizer(spec).encode("fox")
    assert tokenizer.encode(" fox") == SentencePieceTokenizer(spec).encode("fox")
    assert tokenizer.decode(tokenizer.encode(" fox")) == " fox"


def test_the_file_can_enable_removal_of_extra_whitespace(spec: TokenizerSpec) -> None:
    tokenizer = SentencePieceTokenizer(replace(spec, remove_extra_whitespaces=True))
    assert tokenizer.encode("  the   fox ") == tokenizer.encode("the fox")
    assert tokenizer.encode("   ") == [1]


def test_unused_tokens_are_neither_encoded_nor_decoded(spec: TokenizerSpec, extend: Extend) -> None:
    assert spec.types is not None
    the = spec.tokens.index("\u2581the")
    types = spec.types.copy()
    types[the] = UNUSED
    tokenizer = SentencePieceTokenizer(replace(spec, types=types))
    tokens = tokenizer.encode("the", bos=False)
    assert the not in tokens
    assert tokenizer.decode(tokens) == "the"
    assert tokenizer.decode_bytes([the]) == b""
    assert tokenizer.decode_bytes([the], special=True) == b" the"


def test_byte_tokens_decode_to_parts_of_a_character_and_to_the_whole(
    tokenizer: SentencePieceTokenizer,
) -> None:
    tokens = tokenizer.encode("\U0001f999", bos=False)[1:]
    assert [tokenizer.decode_bytes([token]) for token in tokens] == [b"\xf0", b"\x9f", b"\xa6", b"\x99"]
    assert tokenizer.decode(tokens[:2]) == "\ufffd"
    assert tokenizer.decode(tokens) == "\U0001f999"
    assert tokenizer.token_text(tokens[0]) == "<0xF0>"


def test_a_lone_surrogate_is_an_error_with_its_position(tokenizer: SentencePieceTokenizer) -> None:
    with pytest.raises(TokenizerError, match=r"lone surrogate, U\+D83D, at character 4"):
        tokenizer.encode("the \ud83d fox", special=True)


def without_bytes(spec: TokenizerSpec, unknown_type: int) -> TokenizerSpec:
    assert spec.scores is not None
    assert spec.types is not None
    keep = [index for index, kind in enumerate(spec.types) if kind != BYTE]
    types = spec.types[keep]
    types[0] = unknown_type
    tokens = [spec.tokens[index] for index in keep]
    return replace(spec, tokens=tokens, scores=spec.scores[keep], types=types)


def test_without_byte_tokens_missing_characters_become_the_unknown_token(spec: TokenizerSpec) -> None:
    tokenizer = SentencePieceTokenizer(without_bytes(spec, UNKNOWN))
    the = tokenizer.encode("the", bos=False)
    assert tokenizer.encode("the☃☄", bos=False) == [*the, 0]


def test_without_byte_and_unknown_tokens_missing_characters_are_an_error(spec: TokenizerSpec) -> None:
    tokenizer = SentencePieceTokenizer(replace(without_bytes(spec, CONTROL), special_ids={"bos": 1}))
    assert tokenizer.decode(tokenizer.encode("the fox")) == "the fox"
    with pytest.raises(TokenizerError, match="neither byte tokens nor an unknown token"):
        tokenizer.encode("the ☃")


def test_types_default_to_roles_and_spelling(spec: TokenizerSpec) -> None:
    bare, full = SentencePieceTokenizer(replace(spec, types=None)), SentencePieceTokenizer(spec)
    text = "<s>the ☃ fox</s>"
    for special in (False, True):
        tokens = bare.encode(text, special=special)
        assert tokens == full.encode(text, special=special)
        assert bare.decode(tokens) == full.decode(tokens)


def test_empty_tokens_are_placeholders(spec: TokenizerSpec, extend: Extend) -> None:
    tokenizer = SentencePieceTokenizer(extend(spec, [("", NORMAL), ("", UNUSED), ("", USER_DEFINED)]))
    assert tokenizer.encode("the fox") == SentencePieceTokenizer(spec).encode("the fox")
    assert tokenizer.decode([len(spec.tokens)] * 3, special=True) == ""


def changed(spec: TokenizerSpec, token: int, text: str) -> TokenizerSpec:
    return replace(spec, tokens=[*spec.tokens[:token], text, *spec.tokens[token + 1 :]])


@pytest.mark.parametrize("text", ["<0x-1>", "<0x0g>", "<0x0a>", "<0x100>", "byte", "", "<0x0A>\n"])
def test_a_byte_token_of_another_spelling_is_an_error(spec: TokenizerSpec, text: str) -> None:
    with pytest.raises(FormatError, match="token 13 is of type byte"):
        SentencePieceTokenizer(changed(spec, 13, text))


def test_a_missing_byte_token_is_an_error_that_names_it(spec: TokenizerSpec) -> None:
    assert spec.types is not None
    types = spec.types.copy()
    types[3 + 0xC3] = NORMAL
    with pytest.raises(FormatError, match="255 of the 256 byte tokens: <0xC3> is missing"):
        SentencePieceTokenizer(replace(spec, types=types))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": None}, "no scores"),
        ({"scores": np.zeros(5, dtype=np.float32)}, "tokens but 5 scores"),
        ({"special_ids": {"eos": 2, "bos": 70_000}}, "bos token has id 70000"),
    ],
)
def test_an_inconsistent_specification_is_an_error(
    spec: TokenizerSpec, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        SentencePieceTokenizer(replace(spec, **changes))


def test_a_score_that_float32_does_not_hold_is_an_error(spec: TokenizerSpec) -> None:
    assert spec.scores is not None
    scores = spec.scores.astype(np.float64)
    SentencePieceTokenizer(replace(spec, scores=scores))
    scores[300] = -1e300
    with pytest.raises(FormatError, match=r"the score of token 300 .* is -1e\+300, beyond float32"):
        SentencePieceTokenizer(replace(spec, scores=scores))


def test_a_score_of_nan_is_an_error(spec: TokenizerSpec) -> None:
    assert spec.scores is not None
    scores = spec.scores.copy()
    scores[300] = np.nan
    with pytest.raises(FormatError, match=r"the score of token 300 .* is NaN"):
        SentencePieceTokenizer(replace(spec, scores=scores))


def test_a_missing_bos_token_is_an_error_where_it_is_needed(spec: TokenizerSpec) -> None:
    lacking = replace(spec, special_ids={})
    with pytest.raises(FormatError, match="beginning-of-sequence token but gives no id for it"):
        SentencePieceTokenizer(lacking)
    tokenizer = SentencePieceTokenizer(replace(lacking, add_bos=False))
    with pytest.raises(TokenizerError, match="no beginning-of-sequence token"):
        tokenizer.encode("fox", bos=True)


@pytest.mark.parametrize("text", ["a" * 10**6, "the" * 333_333, "\u2581" * 10**6, "\0" * 10**6, "<" * 10**6])
def test_a_megabyte_without_a_break_takes_linear_time(tokenizer: SentencePieceTokenizer, text: str) -> None:
    start = time.process_time()
    tokens = tokenizer.encode(text, special=True)
    decoded = tokenizer.decode(tokens)
    assert time.process_time() - start < 20
    assert decoded == text.replace("\u2581", " ")


def test_a_token_of_a_nul_is_not_used_and_causes_no_output(
    spec: TokenizerSpec, extend: Extend, capfd: pytest.CaptureFixture[str]
) -> None:
    tokenizer = SentencePieceTokenizer(extend(spec, [("\0", NORMAL)]))
    assert tokenizer.encode("a\0", bos=False)[-1] == spec.tokens.index("<0x00>")
    assert capfd.readouterr() == ("", "")


@settings(max_examples=300)
@given(data=st.data())
def test_streamed_text_is_what_follows_the_prompt_in_the_decoded_whole(
    spec: TokenizerSpec, tokenizer: SentencePieceTokenizer, data: st.DataObject
) -> None:
    # Tokens of whole characters: those that are parts of one are decoded with what surrounds them.
    some = st.lists(st.integers(0, 2) | st.integers(259, len(spec.tokens) - 1), max_size=8)
    prompt, reply = data.draw(some), data.draw(some)
    stream = TextStream(tokenizer, after=prompt[-1] if prompt else None)
    text = "".join(map(stream.push, reply)) + stream.finish()
    assert tokenizer.decode(prompt) + text == tokenizer.decode([*prompt, *reply])


def test_a_reply_after_control_tokens_begins_without_the_space_of_the_tokenizer(
    tokenizer: SentencePieceTokenizer,
) -> None:
    reply = tokenizer.encode("hello world", bos=False)
    bos, word = tokenizer.special_ids["bos"], tokenizer.encode("the")[-1]
    for after, text in ((None, "hello world"), (bos, "hello world"), (word, " hello world")):
        stream = TextStream(tokenizer, after=after)
        assert "".join(map(stream.push, reply)) + stream.finish() == text
