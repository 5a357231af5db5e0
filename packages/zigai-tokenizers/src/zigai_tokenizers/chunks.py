"""Cuts long texts into chunks that are encoded one after another, to the same tokens as the whole.

The libraries keep some hundred bytes for each byte of a text while they encode it, and cannot be interrupted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

CHUNK_CHARACTERS = 1 << 16
"""Characters of a chunk at least; it ends at the next place where it may."""

_LETTERS = "A-Za-z\u0391-\u03a1\u03b1-\u03c9\u0410-\u044f\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"
_AFTER_LETTERS = "0-9 \t\r\n.,!?;:\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f"

BETWEEN_WORDS = f"(?<=[{_LETTERS}])(?=[{_AFTER_LETTERS}])"
"""Where every pre-tokeniser of `PRE_TOKENIZERS` ends a word, whatever comes before and after.

A run of letters ends there, no pattern goes on behind one with any of these characters (contractions and
marks do, and are none of them), and none looks further than to the run's end.
"""

BETWEEN_DIGITS = "(?<=[0-9])(?=[0-9])"
"""Where pre-tokenisers for which each digit is a word end one."""


def chunks(text: str, cut: re.Pattern[str] | None) -> Iterator[str]:
    """The text in pieces that end where `cut` matches nothing between two characters, if anywhere.

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
