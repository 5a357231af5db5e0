"""The 256 characters by which byte-level BPE spells bytes.

Source: `bytes_to_unicode` of GPT-2 (openai/gpt-2, src/encoder.py).
Bytes that are printable characters of Latin-1 stand for themselves; the others are U+0100 and up, in order.
"""

from __future__ import annotations

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))


def _characters() -> str:
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in _PRINTABLE else next(others)) for byte in range(256))


CHARACTERS = _characters()
"""`CHARACTERS[byte]` spells that byte."""

_LATIN_1 = {ord(character): byte for byte, character in enumerate(CHARACTERS)}


def spelled_bytes(text: str) -> bytes:
    """The bytes that a text spells; one with any other character stands for itself, in UTF-8.

    >>> spelled_bytes("Ġa")
    b' a'
    """
    if all(ord(character) in _LATIN_1 for character in text):
        return text.translate(_LATIN_1).encode("latin-1")
    return text.encode()
