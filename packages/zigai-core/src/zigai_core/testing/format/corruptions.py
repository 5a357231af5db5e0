"""Damaged copies of a file's content: cut short, with flipped bits, with numbers that lie.

Each function yields a description and the damaged content. What there are too many of is sampled; the same
seed gives the same sample.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

Damaged = tuple[str, bytes]
T = TypeVar("T")

WORDS: dict[int, tuple[int, ...]] = {
    4: (0, 1, 2**31 - 1, 2**31, 2**32 - 1),
    8: (0, 1, 2**31 - 1, 2**32 - 1, 2**32, 2**61, 2**63 - 1, 2**63, 2**64 - 1),
}
"""Numbers that overwrite words, by the word's bytes: zero, and those at the ends of integer types."""

NUMBERS: tuple[bytes, ...] = (
    *(b"0", b"-1", b"1.5", b"2147483648", b"4294967295", b"9223372036854775808", b"18446744073709551615"),
    *(b"1e400", b"-1e400", b"1e9999999999", b"NaN", b"Infinity", b"-Infinity"),
    b"9" * 5000,  # Python refuses to convert more than 4,300 digits
    *(b"null", b"true", b'"7"', b"[]", b"{}", b"[1]", b"[" * 20_000, b'{"a":' * 20_000),
)
"""What numbers in text are replaced by: numbers out of range, other types, nesting without end."""

_NUMBER = re.compile(rb"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")


def sampled(items: Iterable[T], count: int, seed: int = 0) -> list[T]:
    """Returns all items, or of more than `count` that many, in their order."""
    every = list(items)
    if len(every) <= count:
        return every
    return [every[index] for index in sorted(random.Random(seed).sample(range(len(every)), count))]


def cuts(content: bytes, header: int, count: int) -> Iterator[Damaged]:
    """Cuts the content at bytes of its first `header` bytes, and at a tenth as many of the rest.

    The cuts directly before and after the header, and before the last byte, are always made.
    """
    lengths = {*sampled(range(min(header, len(content))), count)}
    lengths |= {*sampled(range(header, len(content)), max(count // 10, 1))}
    lengths |= {each for each in (0, header - 1, header, len(content) - 1) if 0 <= each < len(content)}
    for length in sorted(lengths):
        yield f"cut at byte {length} of {len(content)}", content[:length]


def flips(content: bytes, header: int, first: int, count: int) -> Iterator[Damaged]:
    """Flips every bit of the first `first` bytes, and a sample of the bits of the first `header` bytes."""
    header = min(header, len(content))
    first = min(first, header)
    for bit in [*range(8 * first), *sampled(range(8 * first, 8 * header), count)]:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit % 8} of byte {bit // 8} flipped", bytes(damaged)


def words(content: bytes, header: int, first: int, count: int) -> Iterator[Damaged]:
    """Overwrites words of 4 and 8 bytes, at any alignment, by the little-endian numbers of `WORDS`.

    All words that begin in the first `first` bytes, and a sample of those that begin in the first `header`.
    """

    def places(begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        for width, values in WORDS.items():
            for at in range(begin, min(end, len(content) - width + 1)):
                yield from ((at, width, value) for value in values)

    for at, width, value in [*places(0, first), *sampled(places(first, header), count)]:
        damaged = content[:at] + value.to_bytes(width, "little") + content[at + width :]
        yield f"the {width} bytes at {at} overwritten by {value}", damaged


def numbers(
    content: bytes, header: int, count: int, replacements: Sequence[bytes] = NUMBERS
) -> Iterator[Damaged]:
    """Replaces decimal numbers of the first `header` bytes by `replacements`.

    If a text in braces has its length in the 4 or 8 bytes before it, little-endian, that is kept right.
    """
    length = length_of_text(content)
    begin = sum(length) if length else 0
    found = [match for match in _NUMBER.finditer(content[:header]) if match.start() >= begin]
    for match, new in sampled(((match, new) for match in found for new in replacements), count):
        damaged = content[: match.start()] + new + content[match.end() :]
        if length:
            at, width = length
            value = int.from_bytes(content[at : at + width], "little") + len(damaged) - len(content)
            damaged = damaged[:at] + value.to_bytes(width, "little") + damaged[at + width :]
        old, shown = match.group()[:20].decode(), new[:20].decode()
        yield f"the number {old} at byte {match.start()} replaced by {shown}", damaged


def length_of_text(content: bytes) -> tuple[int, int] | None:
    """Returns place and width in bytes of a number that is the length of the first text in braces."""
    brace = content.find(b"{")
    for width in (8, 4):
        if brace >= width:
            length = int.from_bytes(content[brace - width : brace], "little")
            if 2 <= length <= len(content) - brace and content[: brace + length].rstrip().endswith(b"}"):
                return brace - width, width
    return None
