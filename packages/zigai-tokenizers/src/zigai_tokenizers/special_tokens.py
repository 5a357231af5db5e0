"""Search for special tokens in a text, before the rest is encoded."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence

from zigai_core.contracts.errors import FormatError, quote

_LONGEST = 4096
"""Limit on the characters of a special token, so that the time of a search is linear in the text."""

WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""The characters with Unicode's property White_Space."""


class SpecialTokens:
    """Splits a text at special tokens: the leftmost first, and the longest of those at one position.

    Tokens in `strip_left` and `strip_right` take the white space before or after them away. Tokens that are
    white space are found in it all the same, as by the tokenizers library (`AddedVocabulary::find_matches`).

    >>> list(SpecialTokens({"<s>": 1, "<s>>": 2}).split("a<s>>b<s>"))
    ['a', 2, 'b', 1]
    """

    def __init__(
        self,
        tokens: Mapping[str, int],
        strip_left: Collection[int] = frozenset(),
        strip_right: Collection[int] = frozenset(),
    ) -> None:
        for text in tokens:
            if len(text) > _LONGEST:
                raise FormatError(
                    f"special token {tokens[text]} has {len(text)} characters, more than {_LONGEST}: "
                    f"{quote(text, 24)}"
                )
        self._texts = sorted(text for text in tokens if text)
        self._ids = [tokens[text] for text in self._texts]
        self._longest = max(map(len, self._texts), default=0)
        self._shorter = _longest_prefixes(self._texts)
        self._strip_left, self._strip_right = strip_left, strip_right
        starts = {text[0] for text in self._texts}
        self._start = re.compile("[" + "".join(map(re.escape, sorted(starts))) + "]") if starts else None

    def split(self, text: str, guards: Sequence[int] = ()) -> Iterator[str | int]:
        """Yields the ids of the special tokens in `text` and the non-empty texts between them.

        No token that spans one of the ascending positions in `guards` is found.
        """
        for begin, end, token in self.spans(text, guards):
            yield text[begin:end] if token is None else token

    def spans(self, text: str, guards: Sequence[int] = ()) -> Iterator[tuple[int, int, int | None]]:
        """Yields the same with their positions: begin, end, and the id or None for a text."""
        done = position = white = 0
        while self._start is not None and (match := self._start.search(text, position)):
            position = match.start()
            guard = bisect_right(guards, position)
            limit = guards[guard] if guard < len(guards) else len(text)
            found = self._match(text, position, limit)
            if found < 0:
                position += 1
                continue
            token, begin = self._ids[found], position
            position = end = begin + len(self._texts[found])
            if token in self._strip_left:
                begin = done + len(text[done:begin].rstrip(WHITE_SPACE))
            if token in self._strip_right:
                white = _white_until(text, end) if white < end else white
                end = white
            if done < begin:
                yield done, begin, None
            yield begin, end, token
            done = end
        if done < len(text):
            yield done, len(text), None

    def _match(self, text: str, position: int, end: int) -> int:
        """Returns the index of the longest token at `position` that ends by `end`, or -1.

        If the last of the sorted tokens up to the text is not a prefix of the text, every token that is a
        prefix of the text is also a prefix of that token.
        """
        found = bisect_right(self._texts, text[position : min(position + self._longest, end)]) - 1
        while found >= 0 and not text.startswith(self._texts[found], position, end):
            found = self._shorter[found]
        return found


def _white_until(text: str, at: int) -> int:
    """Returns the end of the white space at a position."""
    while at < len(text) and text[at] in WHITE_SPACE:
        at += 1
    return at


def _longest_prefixes(texts: list[str]) -> list[int]:
    """Returns the index of the longest other text that is a prefix, for each of the sorted `texts`, or -1."""
    prefixes: list[int] = []
    stack: list[int] = []
    for index, text in enumerate(texts):
        while stack and not text.startswith(texts[stack[-1]]):
            stack.pop()
        prefixes.append(stack[-1] if stack else -1)
        stack.append(index)
    return prefixes
