from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel

from zigai_tokenizers.byte_alphabet import CHARACTERS, spelled_bytes


def test_alphabet_is_gpt2s() -> None:
    assert sorted(CHARACTERS) == sorted(ByteLevel.alphabet())
    assert [CHARACTERS[byte] for byte in b" \n!a~\x00\xad\xff"] == list("ĠĊ!a~ĀŃÿ")


@given(st.lists(st.binary(max_size=8) | st.text(max_size=4), max_size=12))
def test_every_text_gives_the_bytes_it_spells_or_its_own(texts: list[bytes | str]) -> None:
    spelled = [
        text if isinstance(text, str) else "".join(CHARACTERS[byte] for byte in text) for text in texts
    ]
    expected = []
    for text in spelled:
        spells = all(character in CHARACTERS for character in text)
        expected.append(bytes(CHARACTERS.index(c) for c in text) if spells else text.encode())
    assert spelled_bytes(spelled) == expected
