from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.contracts.errors import FormatError, TokenizerError
from zigai_tokenizers.vocabulary import TokenBytes, Vocabulary


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": []}, "no tokens"),
        ({"types": np.ones(3, dtype=np.int32)}, "tokens but 3 token types"),
        ({"special_ids": {"bos": 100_000}}, "the bos token has id 100000, outside the vocabulary"),
        ({"special_ids": {"eos": -1}}, "the eos token has id -1"),
        ({"end_ids": frozenset({9999})}, "an end-of-reply token has id 9999"),
    ],
)
def test_an_inconsistent_specification_is_an_error_that_names_it(
    spec: TokenizerSpec, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        Vocabulary(replace(spec, **changes))


def test_a_type_out_of_range_is_an_error_that_names_the_token(
    spec: TokenizerSpec, extend: Callable[..., TokenizerSpec]
) -> None:
    for kind in (0, 7, -1):
        with pytest.raises(FormatError, match=f"'odd' is of type {kind}"):
            Vocabulary(extend(spec, [("odd", kind)]))


def test_types_that_are_not_integers_are_an_error(spec: TokenizerSpec) -> None:
    with pytest.raises(FormatError, match="float32"):
        Vocabulary(replace(spec, types=np.ones(len(spec.tokens), dtype=np.float32)))


def test_types_default_to_control_for_tokens_with_a_role(spec: TokenizerSpec) -> None:
    changed = replace(spec, types=None, special_ids={"bos": 300, "unknown": 0}, end_ids=frozenset({301, 302}))
    types = Vocabulary(changed).types
    assert types[0] == TokenType.UNKNOWN
    assert np.flatnonzero(types == TokenType.CONTROL).tolist() == [300, 301, 302]
    assert np.count_nonzero(types == TokenType.NORMAL) == len(spec.tokens) - 4


def test_tokens_that_end_a_reply_are_control_tokens_unless_a_text_needs_them(
    spec: TokenizerSpec, extend: Callable[..., TokenizerSpec]
) -> None:
    first = len(spec.tokens)
    added = [("<eot>", TokenType.USER_DEFINED), ("<eom>", TokenType.NORMAL), ("\n", TokenType.NORMAL)]
    changed = extend(spec, added, end_ids=frozenset({2, 7, first, first + 1, first + 2}))
    types = Vocabulary(changed).types
    assert types[first:].tolist() == [TokenType.CONTROL, TokenType.CONTROL, TokenType.NORMAL]
    assert types[7] == TokenType.BYTE
    assert Vocabulary(extend(spec, added)).types[first:].tolist() == [kind for _, kind in added]


def test_two_tokens_with_the_same_text_are_an_error_that_names_them(
    spec: TokenizerSpec, extend: Callable[..., TokenizerSpec]
) -> None:
    with pytest.raises(FormatError, match=f"tokens 1 and {len(spec.tokens)} are both '<s>'"):
        Vocabulary(extend(spec, [("<s>", TokenType.NORMAL)]))


def test_a_padding_or_mask_id_out_of_range_is_ignored(spec: TokenizerSpec) -> None:
    vocabulary = Vocabulary(replace(spec, special_ids={"bos": 1, "padding": -1, "mask": 10**6}))
    assert dict(vocabulary.special_ids) == {"bos": 1}


def test_a_token_with_a_lone_surrogate_is_an_error_that_names_it(
    spec: TokenizerSpec, extend: Callable[..., TokenizerSpec]
) -> None:
    with pytest.raises(FormatError, match=f"token {len(spec.tokens) + 1} is not valid Unicode"):
        Vocabulary(
            extend(spec, [("", TokenType.NORMAL), ("\udc80a", TokenType.NORMAL), ("b", TokenType.NORMAL)])
        )


def test_an_id_out_of_range_is_an_error_with_the_size_of_the_vocabulary() -> None:
    table = TokenBytes(3, [b"a", b"b", b"c"].__getitem__, hidden=[1])
    assert table.of([0, 1, 2]) == [b"a", b"", b"c"]
    assert TokenBytes(3, [b"a", b"b", b"c"].__getitem__).of([0, 1, 2]) == [b"a", b"b", b"c"]
    assert table.of([]) == []
    assert table.of(np.array([2, 0])) == [b"c", b"a"]  # type: ignore[arg-type]
    for token in (3, -1, 2**70):
        with pytest.raises(TokenizerError, match=f"token id {token} is outside the vocabulary of 3 tokens"):
            table.of([0, token])


@pytest.mark.parametrize("text", ["x" * 70_000, "\x1b[2J\n" * 10_000], ids=["long", "control"])
def test_an_error_quotes_little_of_a_token(
    spec: TokenizerSpec, extend: Callable[..., TokenizerSpec], text: str
) -> None:
    for types in ((TokenType.NORMAL, TokenType.NORMAL), (TokenType.NORMAL, 9)):
        with pytest.raises(FormatError) as caught:
            Vocabulary(extend(spec, [(text, types[0]), (text, types[1])]))
        assert len(str(caught.value)) < 200
        assert str(caught.value).isprintable()
