"""The 256 characters that represent bytes in byte-level BPE.

Source: `bytes_to_unicode` of GPT-2 (openai/gpt-2, src/encoder.py).
Printable characters of Latin-1 represent their own byte; the other bytes are U+0100 and up, in order.
"""

from __future__ import annotations

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))


def _characters() -> str:
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in _PRINTABLE else next(others)) for byte in range(256))


CHARACTERS = _characters()
"""`CHARACTERS[byte]` represents that byte."""

_LATIN_1 = {ord(character): byte for byte, character in enumerate(CHARACTERS)}


def spelled_bytes(text: str) -> bytes:
    """Returns the bytes that a text represents, or its UTF-8 bytes if it has any other character.

    >>> spelled_bytes("Ġa")
    b' a'
    """
    if all(ord(character) in _LATIN_1 for character in text):
        return text.translate(_LATIN_1).encode("latin-1")
    return text.encode()
