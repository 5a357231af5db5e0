"""Splits long texts into chunks whose tokens, concatenated, are those of the whole text.

The libraries need some hundred bytes of memory per byte of text while they encode, and cannot be interrupted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

CHUNK_CHARACTERS = 1 << 16
"""Minimum characters in a chunk, which ends at the next position where a cut is allowed."""

_LETTERS = "A-Za-z\u0391-\u03a1\u03b1-\u03c9\u0410-\u044f\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"
_AFTER_LETTERS = "0-9 \t\r\n.,!?;:\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f"


def _between(after: str) -> str:
    return f"(?<=[{_LETTERS}])(?=[{after}])"


BETWEEN_WORDS = _between(_AFTER_LETTERS)
"""Positions where pre-tokenisers of `PRE_TOKENIZERS` end a word, whatever comes before and after.

They follow a run of letters. No pattern continues a run with any of these characters (only with contractions
and marks, which are not among them), and no pattern looks ahead past the end of a run. Of the others, to
which this does not apply, each has one of the patterns below.
"""

NOT_BEFORE_SPACES = _between(_AFTER_LETTERS.replace(" ", ""))
"""The same for a pattern of words that may have spaces within."""

NOT_BEFORE_COLONS = _between(_AFTER_LETTERS.replace(":", ""))
"""The same for a pattern of special words with a colon within."""

ONLY_BEFORE_STOPS = _between(r" \t\r\n.,!?\u3001\u3002\uff0c")
"""The same for a pattern of words that contain whatever is not white space or one of few marks."""

BEFORE_DIGITS = _between("0-9")
"""The same for patterns that only split numbers off."""

BETWEEN_DIGITS = "(?<=[0-9])(?=[0-9])"
"""Positions where pre-tokenisers that make each digit a word end a word."""


def chunks(text: str, cut: re.Pattern[str] | None) -> Iterator[str]:
    """Yields the text in chunks that end at matches of the zero-width pattern `cut`; None allows no cut.

    >>> list(chunks("ab cd", re.compile(BETWEEN_WORDS)))
    ['ab cd']
    """
    start = 0
    while cut is not None and len(text) - start > CHUNK_CHARACTERS:
        found = cut.search(text, start + CHUNK_CHARACTERS)
        if found is None:
            break
        yield text[start : found.start()]
        start = found.start()
    yield text[start:] if start else text
