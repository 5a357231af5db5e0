"""Makes the drafter of a reply, and checks that a draft model has the vocabulary of the model."""

from __future__ import annotations

import re
from collections.abc import MutableSet
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from zigai_core.contracts.descriptor import ModelDescriptor, TokenizerSpec, TokenType
from zigai_core.contracts.errors import UnsupportedError, ZigAIError, quote
from zigai_core.contracts.plugins import Program
from zigai_core.engine.drafters import ModelDrafter, NgramDrafter
from zigai_core.engine.request import Drafter

Speculate = Literal["ngram"]

_PADDING = re.compile(
    r"\[PAD\d*\]|<(pad|unused|dummy)[ _]?\d*>|<\|(extra|reserved_special_token|dummy)_\d+\|>"
)
"""Spellings that converters give to tokens that pad a vocabulary to a round number."""


@runtime_checkable
class Vocabulary(Protocol):
    """The attributes of a model that a check of draft models needs: `zigai_core.api.model.Model`."""

    descriptor: ModelDescriptor
    program: Program
    checked_drafts: MutableSet[Any]

    @property
    def closed(self) -> bool:
        """True after `close`."""
        ...

    @property
    def vocabulary(self) -> int:
        """Number of tokens that can be drawn."""
        ...


def check_drafter(model: Vocabulary, speculate: Speculate | None, draft: Vocabulary | None) -> None:
    """Raises `UnsupportedError` if both are given, for an unknown name, and for an unsuitable draft model.

    A draft model must be a loaded model with the same vocabulary and with logits. Raises `ZigAIError` if it
    was closed.
    """
    given: Any = draft
    if speculate is not None and speculate not in get_args(Speculate):
        raise UnsupportedError(f"speculate must be 'ngram' or None, not {quote(speculate)}")
    if speculate is not None and draft is not None:
        raise UnsupportedError("speculate and draft both propose tokens: give one of them")
    if given is None:
        return
    if not isinstance(given, Vocabulary):
        raise UnsupportedError(f"draft must be a loaded model, not {quote(given)}; load it with zigai.load()")
    if given.closed:
        raise ZigAIError(
            f"{given.descriptor.name} is closed, so it cannot propose draft tokens: load it again"
        )
    given.program.graph.output("logits")
    if given not in model.checked_drafts:
        check_draft(model.descriptor, given.descriptor)
        model.checked_drafts.add(given)


def new_drafter(model: Vocabulary, speculate: Speculate | None, draft: Vocabulary | None) -> Drafter | None:
    """Returns the drafter of one reply; None if neither is given. Raises as `check_drafter` does."""
    check_drafter(model, speculate, draft)
    if draft is not None:
        return ModelDrafter(draft.program, min(draft.vocabulary, model.vocabulary))
    return NgramDrafter() if speculate else None


def check_draft(model: ModelDescriptor, draft: ModelDescriptor) -> None:
    """Raises `UnsupportedError`, with the first difference, unless both vocabularies are the same.

    Padding tokens at the end, which do not occur in text, may differ in number and spelling.
    """
    ours, theirs = model.tokenizer, draft.tokenizer
    if ours is None or theirs is None:
        raise UnsupportedError(
            f"{draft.name} cannot be the draft model of {model.name}: both files must have a tokenizer, so "
            "that the vocabularies can be compared"
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
    unused = spec.types is not None and int(spec.types[token]) == TokenType.UNUSED
    return unused or _PADDING.fullmatch(spec.tokens[token]) is not None


def _short(text: str | None) -> str:
    if text is None:
        return "padding or missing"
    return repr(text if len(text) <= 40 else text[:37] + "...")
