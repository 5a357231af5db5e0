"""Log-probabilities of the tokens of a reply, with their texts."""

from __future__ import annotations

from dataclasses import dataclass

from zigai_core.contracts.plugins import Tokenizer
from zigai_core.engine.request import TokenLogprobs


@dataclass(frozen=True)
class LikelyToken:
    """A token that the model might have written."""

    token: int
    text: str
    """Its text, that of a control token included. A part of a character is U+FFFD."""
    logprob: float
    """The natural logarithm of its probability by the model, before any step of sampling."""


@dataclass(frozen=True)
class DrawnToken(LikelyToken):
    """A token of a reply."""

    best: tuple[LikelyToken, ...]
    """The most likely tokens at its place, in descending order; as many as were asked for."""


def drawn_token(given: TokenLogprobs, tokenizer: Tokenizer) -> DrawnToken:
    """Returns what the engine reports of a token, with texts."""
    best = (
        LikelyToken(token, _text(tokenizer, token), logprob)
        for token, logprob in zip(given.ids, given.logprobs, strict=True)
    )
    return DrawnToken(given.token, _text(tokenizer, given.token), given.logprob, tuple(best))


def _text(tokenizer: Tokenizer, token: int) -> str:
    if token >= tokenizer.vocabulary_size:  # a row of the logits without a token
        return ""
    return tokenizer.decode_bytes([token], special=True).decode(errors="replace")
