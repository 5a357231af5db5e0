"""Checks of vocabularies of Unigram: scores to add up, and lengths that bound the time of a search."""

from __future__ import annotations

import numpy as np

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote

LONGEST = 512
"""Characters of the longest token: the search takes as many steps for each character of a text."""

_WRITTEN = (TokenType.NORMAL, TokenType.USER_DEFINED)


def check_lengths(spec: TokenizerSpec) -> None:
    """Raises `UnsupportedError` for a normal or user-defined token of more than `LONGEST` characters."""
    lengths = np.fromiter(map(len, spec.tokens), np.int64, len(spec.tokens))
    for token in np.flatnonzero(lengths > LONGEST).tolist():
        if spec.types is None or len(spec.types) <= token or spec.types[token] in _WRITTEN:
            raise UnsupportedError(
                f"token {token} {quote(spec.tokens[token], 24)} has {lengths[token]} characters: Unigram is "
                f"supported with tokens of at most {LONGEST}"
            )


def check_scores(spec: TokenizerSpec, *, absent: bool = False) -> None:
    """Raises `FormatError` for an infinite score; `absent`: -inf stands for a token outside the model."""
    if spec.scores is None:
        return
    scores = np.asarray(spec.scores)
    if scores.dtype.kind != "f":
        return
    wrong = scores == np.inf if absent else np.abs(scores) == np.inf
    if wrong.any():
        token = int(np.flatnonzero(wrong)[0])
        raise FormatError(f"the score of token {token} is {scores[token]}, which cannot be added up")
