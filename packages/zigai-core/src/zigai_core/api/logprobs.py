"""Log-probabilities of the tokens of a reply, with their texts."""

from __future__ import annotations

from dataclasses import dataclass, field

from zigai_core.contracts.plugins import Tokenizer
from zigai_core.engine.request import TokenLogprobs


@dataclass(frozen=True)
class LikelyToken:
    """A token with its text and log-probability."""

    token: int
    text: str
    """Its text; control tokens have one, too. A part of a character is U+FFFD: see `spelling`."""
    logprob: float
    """The natural logarithm of its probability by the model, before any step of sampling."""
    spelling: bytes = field(repr=False)
    """The bytes of its text, which may begin or end inside a character: join those of the next tokens."""


@dataclass(frozen=True)
class DrawnToken(LikelyToken):
    """A token of a reply. The tokens of a stop string are among them; the end token is not."""

    best: tuple[LikelyToken, ...] = ()
    """The most likely tokens at this index of the reply, in descending order; as many as were requested."""


def drawn_token(given: TokenLogprobs, tokenizer: Tokenizer) -> DrawnToken:
    """Converts the engine's log-probabilities of a token: adds texts."""
    best = tuple(
        LikelyToken(token, _text(spelling := _spelling(tokenizer, token)), logprob, spelling)
        for token, logprob in zip(given.ids, given.logprobs, strict=True)
    )
    spelling = _spelling(tokenizer, given.token)
    return DrawnToken(given.token, _text(spelling), given.logprob, spelling, best)


def _spelling(tokenizer: Tokenizer, token: int) -> bytes:
    if token >= tokenizer.vocabulary_size:  # a row of the logits without a token
        return b""
    return tokenizer.decode_bytes([token], special=True)


def _text(spelling: bytes) -> str:
    return spelling.decode(errors="replace")
