from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zigai_core.contracts.errors import SamplingError
from zigai_core.text.stream import TextStream


class Pieces:
    """A tokenizer whose token i has the bytes `pieces[i]`."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces

    def decode_bytes(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        return b"".join(self.pieces[token] for token in tokens)

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        return self.decode_bytes(tokens).decode(errors="replace")


class Prefixing(Pieces):
    """A tokenizer that adds a space before each text when encoding and removes it when decoding."""

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        return super().decode(tokens).removeprefix(" ")


def stream(pieces: Sequence[bytes], stop: Sequence[str] = ()) -> tuple[list[str], TextStream]:
    """Returns the texts after each piece and at the end, and the stream."""
    text_stream = TextStream(Pieces(pieces), stop)
    shown = [text_stream.push(token) for token in range(len(pieces))]
    return [*shown, text_stream.finish()], text_stream


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(position % (len(data) + 1) for position in at), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


cuts = st.lists(st.integers(0, 10_000), max_size=20)
few_letters = st.text("abé€😀", max_size=40)


@given(st.text(max_size=60).filter(lambda text: text.isprintable()), cuts)
def test_any_cut_of_a_text_gives_the_same_text(text: str, at: list[int]) -> None:
    shown, _ = stream(cut(text.encode(), at))
    assert "".join(shown) == text
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in shown)


@given(st.binary(max_size=60), cuts)
def test_any_cut_of_any_bytes_gives_the_same_as_decoding_the_whole(data: bytes, at: list[int]) -> None:
    shown, _ = stream(cut(data, at))
    assert "".join(shown) == data.decode("utf-8", errors="replace")


@given(few_letters, st.text("abé€😀", min_size=1, max_size=5), cuts)
def test_text_ends_before_the_stop_string_however_it_is_cut(text: str, stop: str, at: list[int]) -> None:
    shown, text_stream = stream(cut(text.encode(), at), [stop])
    assert "".join(shown) == text.split(stop)[0]
    assert text_stream.stopped == (stop if stop in text else None)


@given(few_letters, st.lists(st.text("abé€😀", min_size=1, max_size=5), max_size=4), cuts)
def test_of_several_stop_strings_the_first_that_is_complete_ends_the_text(
    text: str, stops: list[str], at: list[int]
) -> None:
    expected, stopped = text, None
    for end in range(len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            stopped = max(complete, key=len)
            expected = text[: end - len(stopped)]
            break
    shown, text_stream = stream(cut(text.encode(), at), stops)
    assert "".join(shown) == expected
    assert text_stream.stopped == stopped


@given(few_letters, st.text("abé€😀", min_size=1, max_size=5), cuts)
def test_only_what_may_begin_a_stop_string_is_held_back(text: str, stop: str, at: list[int]) -> None:
    pieces = cut(text.encode(), at)
    text_stream = TextStream(Pieces(pieces), [stop])
    shown, come = "", b""
    for token, piece in enumerate(pieces):
        shown += text_stream.push(token)
        come += piece
        if text_stream.stopped is None:
            waiting = come.decode("utf-8", errors="ignore")[len(shown) :]
            assert stop.startswith(waiting)
            assert waiting != stop


def test_a_character_is_returned_with_its_last_byte() -> None:
    shown, _ = stream([b"\xf0", b"\x9f\x98", b"\x80!", b"."])
    assert shown == ["", "", "😀!", ".", ""]


def test_an_invalid_byte_is_returned_as_soon_as_it_is_certain() -> None:
    shown, _ = stream([b"a\xff", b"\xe2\x82", b"b"])
    assert shown == ["a\ufffd", "", "\ufffdb", ""]


def test_an_incomplete_character_at_the_end_is_a_replacement_character() -> None:
    assert stream([b"a", b"\xe2\x82"])[0] == ["a", "", "\ufffd"]


def test_a_stop_string_may_end_in_the_middle_of_a_token() -> None:
    shown, text_stream = stream([b"Hello\nUs", b"er: and more", b"more"], ["\nUser:"])
    assert shown == ["Hello", "", "", ""]
    assert text_stream.stopped == "\nUser:"


def test_text_that_only_begins_like_a_stop_string_is_returned() -> None:
    shown, text_stream = stream([b"a<", b"|e", b"x", b"<|"], ["<|end|>"])
    assert shown == ["a", "", "<|ex", "", "<|"]
    assert text_stream.stopped is None


def test_a_token_without_bytes_changes_nothing() -> None:
    assert stream([b"\xe2\x82", b"", b"\xac"])[0] == ["", "", "€", ""]


@pytest.mark.parametrize("stop", ["end", [""], ["a", ""], [3]])
def test_a_stop_that_is_not_a_list_of_texts_is_an_error(stop: Any) -> None:
    with pytest.raises(SamplingError, match="stop must be a list of texts that are not empty"):
        TextStream(Pieces([]), stop)


@pytest.mark.parametrize(
    ("tokenizer", "after", "text"),
    [
        (Prefixing, None, "a b"),
        (Prefixing, 1, " a b"),
        (Pieces, None, " a b"),
    ],
)
def test_a_text_begins_without_the_space_of_the_tokenizer(
    tokenizer: type[Pieces], after: int | None, text: str
) -> None:
    text_stream = TextStream(tokenizer([b" a", b" b"]), after=after)
    assert text_stream.push(0) + text_stream.push(1) == text
