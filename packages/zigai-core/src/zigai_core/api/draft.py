"""Whether a smaller model may guess for another one: both must mean the same by a token id."""

from __future__ import annotations

import re

from zigai_core.contracts.descriptor import ModelDescriptor, TokenizerSpec
from zigai_core.contracts.errors import UnsupportedError

_UNUSED = 5
_PADDING = re.compile(
    r"\[PAD\d*\]|<(pad|unused|dummy)[ _]?\d*>|<\|(extra|reserved_special_token|dummy)_\d+\|>"
)
"""How converters spell the rows that fill a vocabulary up to a round number."""


def check_draft(model: ModelDescriptor, draft: ModelDescriptor) -> None:
    """`UnsupportedError` naming the first token that differs between the two vocabularies.

    Padding tokens at the end, which no text holds, may differ in number and in spelling.
    """
    ours, theirs = model.tokenizer, draft.tokenizer
    if ours is None or theirs is None:
        raise UnsupportedError(
            f"{draft.name} cannot guess for {model.name}: without a tokenizer in both files nothing says "
            "that they have the same vocabulary"
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
                f"{draft.name} cannot guess for {model.name}: their vocabularies differ; token {token} is "
                f"{there} there and {here} here"
            )


def _used(spec: TokenizerSpec) -> int:
    """How many tokens there are before the padding at the end."""
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
        return "padding or not there"
    return repr(text if len(text) <= 40 else text[:37] + "...")
