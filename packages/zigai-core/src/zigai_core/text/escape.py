"""Keeps what people write from passing for control tokens once a chat template has put it into a prompt.

A template's own markers must become control tokens, the same characters in a message must not. So before
rendering, every spelling of a control token in a message is broken by a character that stands in no message;
after rendering that character is taken out, and the places where it stood are told to the tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zigai_core.contracts.errors import TemplateError

NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
"""Code points that Unicode keeps for a program's own use (The Unicode Standard, section 23.7)."""


class Guard:
    """Breaks control tokens in what people and tools said, and finds the breaks in what was rendered from it.

    `said` is text, or text in lists and mappings, however deep; `broken` is the same with the breaks in it.

    >>> guard = Guard({"<s>": 1}, [{"role": "user", "content": "what is <s>?"}])
    >>> text, places = guard.removed("<s>" + guard.broken[0]["content"])
    >>> text, places
    ('<s>what is <s>?', [12])
    """

    def __init__(self, control_tokens: Mapping[str, int], said: Any) -> None:
        used = set().union(*_texts(said))
        unused = [mark for mark in NONCHARACTERS if mark not in used]
        if not unused:
            raise TemplateError(
                "the messages hold all 32 noncharacters from U+FDD0 on: leave one of them out"
            )
        self._mark = unused[0]
        spellings = sorted((text for text in control_tokens if len(text) > 1), key=len, reverse=True)
        # A lookahead finds spellings that overlap, too: each is broken behind its first character.
        self._start = re.compile(f"(?=(?:{'|'.join(map(re.escape, spellings))}))") if spellings else None
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
        if isinstance(said, str) and self._start is not None:
            breaks = [match.start() + 1 for match in self._start.finditer(said)]
            return self._mark.join(said[a:b] for a, b in zip([0, *breaks], [*breaks, None], strict=True))
        if isinstance(said, Mapping):
            return {key: self._break(value) for key, value in said.items()}
        if isinstance(said, Sequence) and not isinstance(said, str):
            return [self._break(value) for value in said]
        return said


def _texts(said: Any) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    elif isinstance(said, Mapping):
        for value in said.values():
            yield from _texts(value)
    elif isinstance(said, Sequence):
        for value in said:
            yield from _texts(value)
