"""Log-probabilities of the tokens of a reply, with their texts."""

from __future__ import annotations

from dataclasses import dataclass

from zigai_core.contracts.plugins import Tokenizer
from zigai_core.engine.request import TokenLogprobs


@dataclass(frozen=True)
class LikelyToken:
    """A token with its text and log-probability."""

    token: int
    text: str
    """Its text; control tokens have one, too. An incomplete character is U+FFFD."""
    logprob: float
    """The natural logarithm of its probability by the model, before any step of sampling."""


@dataclass(frozen=True)
class DrawnToken(LikelyToken):
    """A token of a reply."""

    best: tuple[LikelyToken, ...]
    """The most likely tokens at this index of the reply, in descending order; as many as were requested."""


def drawn_token(given: TokenLogprobs, tokenizer: Tokenizer) -> DrawnToken:
    """Converts the engine's log-probabilities of a token: adds texts."""
    best = (
        LikelyToken(token, _text(tokenizer, token), logprob)
        for token, logprob in zip(given.ids, given.logprobs, strict=True)
    )
    return DrawnToken(given.token, _text(tokenizer, given.token), given.logprob, tuple(best))


def _text(tokenizer: Tokenizer, token: int) -> str:
    if token >= tokenizer.vocabulary_size:  # a row of the logits without a token
        return ""
    return tokenizer.decode_bytes([token], special=True).decode(errors="replace")
