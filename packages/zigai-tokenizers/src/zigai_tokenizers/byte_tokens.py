"""Byte tokens, which stand for characters without a token, and the character that stands for a space.

Source: SentencePiece (Kudo and Richardson 2018, arXiv:1808.06226) with `byte_fallback`.
"""

from __future__ import annotations

import re

from zigai_core.contracts.descriptor import TokenType
from zigai_core.contracts.errors import FormatError, quote
from zigai_tokenizers.vocabulary import Vocabulary

SPACE = "\u2581"
BYTE = re.compile("<0x([0-9A-F]{2})>")


def byte_values(vocabulary: Vocabulary, *, characters: bool = False) -> dict[int, int]:
    """Returns the byte of each byte token: all 256 of them, or none.

    With `characters`, a byte needs none if its ASCII character is a token.
    """
    values: dict[int, int] = {}
    for token in vocabulary.of_type(TokenType.BYTE):
        match = BYTE.fullmatch(vocabulary.texts[token])
        if match is None:
            raise FormatError(
                f"token {token} is of type byte, but its text {quote(vocabulary.texts[token])} is not one of "
                "<0x00>..<0xFF>"
            )
        values[token] = int(match[1], 16)
    missing = set(range(256)).difference(values.values())
    if characters:
        missing -= {byte for byte in range(128) if chr(byte) in vocabulary.ids}
    if values and missing:
        raise FormatError(
            f"the vocabulary has {len(values)} of the 256 byte tokens: <0x{min(missing):02X}> is missing"
        )
    return values
