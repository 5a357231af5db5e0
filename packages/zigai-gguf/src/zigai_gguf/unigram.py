"""A vocabulary of the kind `unigram` as GGUF has it, which is of the kind `t5`.

Source: llama.cpp (conversion/bert.py, `_xlmroberta_set_vocab`; src/llama-vocab.cpp,
`llm_tokenizer_ugm_session`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from zigai_core.contracts.descriptor import TokenizerSpec, TokenType
from zigai_core.contracts.errors import UnsupportedError, quote

_ADDED = -1000.0
"""The score of tokens that are not in the model, as llama.cpp's converters write it."""

_EXPRESSIBLE = (
    ("Precompiled",),
    ("Strip", "right"),
    ("Strip", "left right"),
    ("Spaces", " "),
    ("Spaces", "\u2581"),
)


def as_t5(spec: TokenizerSpec, path: Path | None) -> TokenizerSpec:
    """Returns a vocabulary of the kind `unigram` as one of the kind `t5`.

    Raises `UnsupportedError` for steps of normalisation that GGUF cannot ask for.
    """
    other = next((step for step in spec.normalizers if tuple(step) not in _EXPRESSIBLE), None)
    if other is not None:
        raise UnsupportedError(
            f"{path}: the tokenizer normalises texts by {quote(list(other))}, which GGUF cannot ask for"
        )
    if spec.scores is None:
        raise UnsupportedError(f"{path}: the tokenizer is Unigram without scores")
    scores = np.where(np.isfinite(spec.scores), spec.scores, _ADDED)
    if np.abs(scores).max(initial=0) > np.finfo(np.float32).max:
        token = int(np.abs(scores).argmax())
        raise UnsupportedError(
            f"{path}: the score of token {token} {quote(spec.tokens[token])} is {scores[token]}, and GGUF "
            "has scores of 32 bits"
        )
    types = np.ones(len(spec.tokens), np.int32) if spec.types is None else spec.types.astype(np.int32)
    unknown = spec.special_ids.get("unknown")
    if unknown is not None:
        types[unknown] = TokenType.UNKNOWN
    names = [step[0] for step in spec.normalizers]
    return replace(
        spec,
        kind="t5",
        scores=scores.astype(np.float32),
        types=types,
        splits=None,
        normalizers=(),
        white_space_ends_words=False,
        remove_extra_whitespaces=spec.white_space_ends_words or "Spaces" in names,
        precompiled_charsmap=spec.precompiled_charsmap if "Precompiled" in names else None,
    )


DIFFERENCE = (
    "GGUF's readers normalise texts and add scores up as sentencepiece does: texts with joined or combining "
    "characters, other white space than spaces, and rare others have other ids in the file"
)
"""What differs between the two kinds."""
