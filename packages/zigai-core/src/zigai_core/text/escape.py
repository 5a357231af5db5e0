"""Keeps the text of messages from being tokenized as control tokens.

A chat template's own markers must become control tokens; the same characters in a message must not. Before
rendering, every spelling of a control token in the messages gets a mark, a character that occurs in none of
them. After rendering the marks are removed, and the tokenizer gets their positions: no control token may span
one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from zigai_core.contracts.errors import TemplateError

NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
"""Code points reserved for internal use by programs (The Unicode Standard, section 23.7)."""


class Spellings:
    """Finds the spellings of control tokens in a text, in time independent of the number of control tokens.

    A spelling with another spelling as its prefix is dropped: the prefix is found at the same position. Of
    those that remain, sorted, only the last that is not greater than a text can be a prefix of that text.
    """

    def __init__(self, control_tokens: Iterable[str]) -> None:
        self._by_start: dict[str, list[str]] = {}
        self._longest = 0
        last = None
        for spelling in sorted(text for text in control_tokens if len(text) > 1):
            if last is None or not spelling.startswith(last):
                last = spelling
                self._by_start.setdefault(spelling[:2], []).append(spelling)
                self._longest = max(self._longest, len(spelling))

    def starts(self, text: str) -> Iterator[int]:
        """Yields each position at which a control token's spelling begins. Spellings may overlap."""
        for start in range(len(text) - 1 if self._by_start else 0):
            spellings = self._by_start.get(text[start : start + 2])
            if spellings is not None:
                place = bisect_right(spellings, text[start : start + self._longest])
                if place and text.startswith(spellings[place - 1], start):
                    yield start


class Guard:
    """Inserts marks into control tokens in messages and tools, and finds the marks in the rendered prompt.

    `said` is a text, or lists and mappings of texts, nested to any depth; keys of mappings are included.
    `broken` is a copy of it with the marks. Raises `TemplateError` if every possible mark occurs in `said`.

    >>> guard = Guard(Spellings({"<s>": 1}), [{"role": "user", "content": "what is <s>?"}])
    >>> text, places = guard.removed("<s>" + guard.broken[0]["content"])
    >>> text, places
    ('<s>what is <s>?', [12])
    """

    def __init__(self, spellings: Spellings, said: Any) -> None:
        used = set().union(*_texts(said))
        unused = [mark for mark in NONCHARACTERS if mark not in used]
        if not unused:
            raise TemplateError(
                "the messages contain all 32 noncharacters U+FDD0 to U+FDEF: remove one of them"
            )
        self._mark = unused[0]
        self._spellings = spellings
        self.broken = self._break(said)

    def removed(self, text: str) -> tuple[str, list[int]]:
        """Returns the rendered text without marks, and the positions in it that no control token may span."""
        pieces = text.split(self._mark)
        places, position = [], 0
        for piece in pieces[:-1]:
            position += len(piece)
            places.append(position)
        return "".join(pieces), places

    def _break(self, said: Any) -> Any:
        if isinstance(said, str):
            breaks = [start + 1 for start in self._spellings.starts(said)]
            return self._mark.join(said[a:b] for a, b in zip([0, *breaks], [*breaks, None], strict=True))
        if isinstance(said, Mapping):
            return {self._break(key): self._break(value) for key, value in said.items()}
        if isinstance(said, Sequence):
            return [self._break(value) for value in said]
        return said


def _texts(said: Any) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    elif isinstance(said, Mapping):
        for key, value in said.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(said, Sequence):
        for value in said:
            yield from _texts(value)
