"""Checks that a draft model has the vocabulary of the model for which it proposes tokens."""

from __future__ import annotations

import re

from zigai_core.contracts.descriptor import ModelDescriptor, TokenizerSpec
from zigai_core.contracts.errors import UnsupportedError

_UNUSED = 5
_PADDING = re.compile(
    r"\[PAD\d*\]|<(pad|unused|dummy)[ _]?\d*>|<\|(extra|reserved_special_token|dummy)_\d+\|>"
)
"""Spellings that converters give to tokens that pad a vocabulary to a round number."""


def check_draft(model: ModelDescriptor, draft: ModelDescriptor) -> None:
    """Raise `UnsupportedError`, with the first difference, unless both vocabularies are the same.

    Padding tokens at the end, which do not occur in text, may differ in number and spelling.
    """
    ours, theirs = model.tokenizer, draft.tokenizer
    if ours is None or theirs is None:
        raise UnsupportedError(
            f"{draft.name} cannot be the draft model of {model.name}: that they have the same vocabulary "
            "cannot be checked without a tokenizer in both files"
        )
    sizes = _used(ours), _used(theirs)
    for token in range(max(sizes)):
        spellings = [
            spec.tokens[token] if token < size else None
            for spec, size in zip((ours, theirs), sizes, strict=True)
        ]
        if spellings[0] != spellings[1]:
            here, there = map(_short, spellings)
            raise UnsupportedError(
                f"{draft.name} cannot be the draft model of {model.name}: their vocabularies differ; token "
                f"{token} is {there} in the draft model and {here} in the model"
            )


def _used(spec: TokenizerSpec) -> int:
    """Number of tokens before the padding at the end."""
    size = len(spec.tokens)
    while size and _is_padding(spec, size - 1):
        size -= 1
    return size


def _is_padding(spec: TokenizerSpec, token: int) -> bool:
    if token in spec.special_ids.values() or token in spec.end_ids:
        return False
    unused = spec.types is not None and int(spec.types[token]) == _UNUSED
    return unused or _PADDING.fullmatch(spec.tokens[token]) is not None


def _short(text: str | None) -> str:
    if text is None:
        return "padding or missing"
    return repr(text if len(text) <= 40 else text[:37] + "...")
