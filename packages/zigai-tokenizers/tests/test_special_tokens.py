from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zigai_core.contracts.errors import FormatError
from zigai_tokenizers.special_tokens import SpecialTokens


def split_by_alternation(tokens: dict[str, int], text: str) -> list[str | int]:
    pattern = "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True))
    parts = re.split(f"({pattern})", text) if tokens else [text]
    return [tokens[part] if index % 2 else part for index, part in enumerate(parts) if part]


@given(
    st.dictionaries(st.text("ab<]^-\n", min_size=1, max_size=5), st.integers(0, 9), max_size=8),
    st.text("ab<]^-\n", max_size=30),
)
def test_the_leftmost_and_longest_token_is_found(tokens: dict[str, int], text: str) -> None:
    assert list(SpecialTokens(tokens).split(text)) == split_by_alternation(tokens, text)


def test_tokens_with_a_common_prefix_are_distinguished() -> None:
    tokens = {"<|a|>": 1, "<|a": 2, "<|ab|>": 3, "<": 4}
    assert list(SpecialTokens(tokens).split("<|ab|><|ab<|a|>|<|ac")) == [3, 2, "b", 1, "|", 2, "c"]


def test_an_empty_token_is_not_found() -> None:
    assert list(SpecialTokens({"": 5, "x": 6}).split("axb")) == ["a", 6, "b"]


def test_many_tokens_with_a_common_prefix_take_time_linear_in_the_text() -> None:
    tokens = {"[" * n + "x": n for n in range(1, 2000)} | {f"[PAD{n}]": 5000 + n for n in range(2000)}
    matcher = SpecialTokens(tokens)
    start = time.process_time()
    assert list(matcher.split("[PAD19999]" * 10_000)) == ["[PAD19999]" * 10_000]
    assert time.process_time() - start < 5


def test_a_token_that_is_too_long_is_an_error() -> None:
    with pytest.raises(FormatError, match="special token 7 has 5000 characters"):
        SpecialTokens({"x" * 5000: 7})


@pytest.mark.parametrize(
    ("guards", "expected"),
    [
        ([], ["a", 2, "b", 1]),
        ([1, 5], ["a", 2, "b", 1]),
        ([2], ["a<s>>b", 1]),
        ([4], ["a", 1, ">b", 1]),
        ([3, 7], ["a<s>>b<s>"]),
    ],
)
def test_no_token_spans_a_guard(guards: list[int], expected: list[str | int]) -> None:
    assert list(SpecialTokens({"<s>": 1, "<s>>": 2}).split("a<s>>b<s>", guards)) == expected


def test_white_space_beside_a_token_is_taken_away() -> None:
    tokens = {"<l>": 1, "<r>": 2, "<n>": 3}
    found = SpecialTokens(tokens, strip_left={1}, strip_right={2})
    assert list(found.split("a \t<l> b<r>\n\u3000 <l>\x1f<n> <r>")) == ["a", 1, " b", 2, 1, "\x1f", 3, " ", 2]
    assert list(found.spans("a <l>b")) == [(0, 1, None), (1, 5, 1), (5, 6, None)]
    assert list(found.split(" <l>")) == [1]
    assert list(found.split("<r> ")) == [2]
    spaces = SpecialTokens({"\n": 1, "\t": 2}, strip_right={1})
    assert list(spaces.split("a\n\t b\n b")) == ["a", 1, 2, " b", 1, "b"]


def test_white_space_that_is_itself_tokens_takes_linear_time() -> None:
    found = SpecialTokens({"\n": 1}, strip_left={1}, strip_right={1})
    begin = time.perf_counter()
    assert list(found.split("\n" * 100_000)) == [1] * 100_000
    assert time.perf_counter() - begin < 5
