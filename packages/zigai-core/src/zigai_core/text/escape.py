"""Keeps what people write from passing for control tokens once a chat template has put it into a prompt.

A template's own markers must become control tokens, the same characters in a message must not. So before
rendering, every spelling of a control token in a message is broken by a character that stands in no message;
after rendering that character is taken out, and the places where it stood are told to the tokenizer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from zigai_core.contracts.errors import TemplateError

NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
"""Code points that Unicode keeps for a program's own use (The Unicode Standard, section 23.7)."""


class Spellings:
    """Finds where control tokens are spelled in a text, in one pass however many they are.

    A spelling that begins with another one is left out: wherever it stands, the other one stands. Of those
    left, sorted, only the last one that is no greater than a text can be the beginning of the text.
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
        """Every position at which a control token's spelling begins; they may overlap."""
        for start in range(len(text) - 1 if self._by_start else 0):
            spellings = self._by_start.get(text[start : start + 2])
            if spellings is not None:
                place = bisect_right(spellings, text[start : start + self._longest])
                if place and text.startswith(spellings[place - 1], start):
                    yield start


class Guard:
    """Breaks control tokens in what people and tools said, and finds the breaks in what was rendered from it.

    `said` is text, or text in lists and mappings, keys included, however deep; `broken` is the same with the
    breaks in it.

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
                "the messages hold all 32 noncharacters from U+FDD0 on: leave one of them out"
            )
        self._mark = unused[0]
        self._spellings = spellings
        self.broken = self._break(said)

    def removed(self, text: str) -> tuple[str, list[int]]:
        """The rendered text without the marks, and the positions in it that no control token may span."""
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
