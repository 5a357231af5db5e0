"""Damaged copies of a file's content: cut short, with flipped bits, with numbers that lie.

Each function yields a description and the damaged content. `spans` are the bytes that are damaged, those
that are no tensor's data: a header, and what is between tensors and after them. What there are too many of is
sampled; the same seed gives the same sample.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
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


def spread(
    spans: Sequence[range], items: Callable[[range], Iterable[T]], count: int, seed: int = 0
) -> list[T]:
    """Returns the items of all spans, or of more than `count` that many, in their order.

    Half of them are shared out equally among the spans, so that an index of few bytes after the tensors gets
    its part beside a long header; the others are a sample of all that are left.
    """
    groups = [list(items(span)) for span in spans]
    every = list(chain.from_iterable(groups))
    if len(every) <= count:
        return every
    generator = random.Random(seed)
    share, begin = count // (2 * len(groups)), 0
    chosen = set[int]()
    for group in groups:
        indices = range(begin, begin + len(group))
        chosen.update(generator.sample(indices, min(share, len(group))))
        begin = indices.stop
    left = [index for index in range(len(every)) if index not in chosen]
    chosen.update(generator.sample(left, count - len(chosen)))
    return [every[index] for index in sorted(chosen)]


def cuts(content: bytes, spans: Sequence[range], count: int) -> Iterator[Damaged]:
    """Cuts the content at bytes of `spans`, and at a tenth as many of the rest.

    The cuts directly before and after each of the first spans, and before the last byte, are always made.
    """
    within = {*chain.from_iterable(spans)}
    lengths = {*spread(spans, iter, count)}
    lengths |= {*sampled((at for at in range(len(content)) if at not in within), max(count // 10, 1))}
    ends = chain.from_iterable((span.start, span.stop - 1, span.stop) for span in spans[:4])
    lengths |= {each for each in (0, *ends, len(content) - 1) if 0 <= each < len(content)}
    for length in sorted(lengths):
        yield f"cut at byte {length} of {len(content)}", content[:length]


def flips(content: bytes, spans: Sequence[range], first: int, count: int) -> Iterator[Damaged]:
    """Flips every bit of the first `first` bytes of `spans`, and a sample of the bits of the others."""
    begin, others = _divided(spans, first)

    def bits(span: range) -> range:
        return range(8 * span.start, 8 * span.stop)

    for bit in [*chain.from_iterable(map(bits, begin)), *spread(others, bits, count)]:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit % 8} of byte {bit // 8} flipped", bytes(damaged)


def words(content: bytes, spans: Sequence[range], first: int, count: int) -> Iterator[Damaged]:
    """Overwrites words of 4 and 8 bytes, at any alignment, by the little-endian numbers of `WORDS`.

    All words that begin in the first `first` bytes of `spans`, and a sample of those that begin in the
    others.
    """
    begin, others = _divided(spans, first)

    def places(span: range) -> Iterator[tuple[int, int, int]]:
        for width, values in WORDS.items():
            for at in range(span.start, min(span.stop, len(content) - width + 1)):
                yield from ((at, width, value) for value in values)

    for at, width, value in [*chain.from_iterable(map(places, begin)), *spread(others, places, count)]:
        damaged = content[:at] + value.to_bytes(width, "little") + content[at + width :]
        yield f"the {width} bytes at {at} overwritten by {value}", damaged


def numbers(
    content: bytes, spans: Sequence[range], count: int, replacements: Sequence[bytes] = NUMBERS
) -> Iterator[Damaged]:
    """Replaces decimal numbers in `spans` by `replacements`.

    If the number is in a text in braces with its length in the 4 or 8 bytes before it, little-endian, that is
    kept right.
    """
    texts = lengths_of_texts(content, spans)

    def found(span: range) -> Iterator[tuple[re.Match[bytes], bytes]]:
        for match in _NUMBER.finditer(content, span.start, span.stop):
            # The bytes of a length may be digits.
            if not any(at <= match.start() < at + width for at, width, _ in texts):
                yield from ((match, new) for new in replacements)

    for match, new in spread(spans, found, count):
        damaged = content[: match.start()] + new + content[match.end() :]
        for at, width, length in texts:
            if at + width <= match.start() < at + width + length:
                value = length + len(damaged) - len(content)
                damaged = damaged[:at] + value.to_bytes(width, "little") + damaged[at + width :]
                break
        old, shown = match.group()[:20].decode(), new[:20].decode()
        yield f"the number {old} at byte {match.start()} replaced by {shown}", damaged


def lengths_of_texts(content: bytes, spans: Sequence[range]) -> list[tuple[int, int, int]]:
    """Returns place, width in bytes and value of the numbers that are lengths of texts in braces."""
    found = []
    braces = (at for span in spans for at in span if content[at] == ord("{"))
    for brace in braces:
        for width in (8, 4):
            length = int.from_bytes(content[max(brace - width, 0) : brace], "little")
            text = content[brace : brace + length] if 2 <= length <= len(content) - brace else b""
            if brace >= width and text.rstrip().endswith(b"}"):
                found.append((brace - width, width, length))
                break
    return found


def _divided(spans: Sequence[range], first: int) -> tuple[list[range], list[range]]:
    """Returns the first `first` bytes of spans, and the others."""
    begin, others = list[range](), list[range]()
    for span in spans:
        part = span[: max(first, 0)]
        first -= len(part)
        begin += [part] if part else []
        others += [span[len(part) :]] if len(part) < len(span) else []
    return begin, others
