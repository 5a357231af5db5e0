"""Words of texts in which U+2581 stands for spaces: parts that no merge joins, encoded once each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer

from zigai_tokenizers.byte_tokens import SPACE
from zigai_tokenizers.chunks import chunks
from zigai_tokenizers.library import encode_text

SPLIT_AT_SPACES = f"{SPACE}[^{SPACE}]*"
"""The expression of the library's `Metaspace` with `split`: each word begins with U+2581."""

_REMEMBERED = 1 << 15
"""Words whose ids are remembered."""
_LONGEST = 64
"""Characters of the longest word that is remembered."""


def boundaries(tokens: Iterable[str], splits: tuple[str, ...]) -> re.Pattern[str] | None:
    """Returns the zero-width expression of the ends of words; None: a text must not be cut.

    A word ends between a character and U+2581 if no token has the two in this order: so no merge joins them,
    and the merges of either side do not depend on the other. With `splits`, it is the library that cuts.
    """
    if splits == (SPLIT_AT_SPACES,):
        return re.compile(rf"(?={SPACE})(?<=[\s\S])")
    if splits:
        return None
    crossing = {text[at - 1] for text in tokens for at in _places(text)}
    return re.compile(f"(?={SPACE})(?<=[^{''.join(map(re.escape, sorted({SPACE, *crossing})))}])")


def _places(text: str) -> Iterator[int]:
    """Yields the positions of U+2581 after the first character."""
    at = text.find(SPACE, 1)
    while at > 0:
        yield at
        at = text.find(SPACE, at + 1)


class Words:
    """Encodes texts word by word, and remembers the ids of short words."""

    def __init__(self, tokenizer: Tokenizer, boundaries: re.Pattern[str] | None) -> None:
        self._tokenizer = tokenizer
        self._model = tokenizer.model
        self._boundaries = boundaries
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text."""
        if self._boundaries is None:
            return encode_text(self._tokenizer, text)
        tokens: list[int] = []
        for chunk in chunks(text, self._boundaries):
            known = self._known
            for word in self._boundaries.split(chunk):
                tokens += known.get(word) or self._encode_word(word)
        return tokens

    def _encode_word(self, word: str) -> list[int]:
        if len(word) > _LONGEST:
            return encode_text(self._tokenizer, word)
        # In a third of the time of `encode_text`, but other threads wait meanwhile.
        tokens = [token.id for token in self._model.tokenize(word)]
        if len(self._known) >= _REMEMBERED:
            self._known = {}  # not emptied: another thread may be reading it
        self._known[word] = tokens
        return tokens
