from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel

from zigai_tokenizers.byte_alphabet import CHARACTERS, spelled_bytes


def test_the_alphabet_is_that_of_gpt2() -> None:
    assert sorted(CHARACTERS) == sorted(ByteLevel.alphabet())
    assert [CHARACTERS[byte] for byte in b" \n!a~\x00\xad\xff"] == list("ĠĊ!a~ĀŃÿ")


@given(st.binary(max_size=8))
def test_a_text_of_the_alphabet_represents_bytes(data: bytes) -> None:
    assert spelled_bytes("".join(CHARACTERS[byte] for byte in data)) == data


@given(st.text(max_size=4))
def test_any_other_text_represents_its_utf_8_bytes(text: str) -> None:
    represents_bytes = all(character in CHARACTERS for character in text)
    assert spelled_bytes(text) == (bytes(map(CHARACTERS.index, text)) if represents_bytes else text.encode())
