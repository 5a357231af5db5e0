"""A reply in the making: text as it comes, and what can be said about it in the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

from zigai_core.contracts.errors import Cancelled, ContextOverflowError, SamplingError, TokenizerError, quote
from zigai_core.contracts.plugins import Tokenizer
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.session import Overflow, Session
from zigai_core.engine.speculation import Drafter, Speculation
from zigai_core.text.stream import TextStream

FinishReason = Literal["end", "stop", "length", "context", "cancelled"]


@dataclass
class GenerationStats:
    """Counts in tokens, times in seconds."""

    prompt_tokens: int = 0
    """Tokens of the prompt as it was run: earlier turns included, dropped tokens not."""
    cached_tokens: int = 0
    """How many of them needed no computing."""
    dropped_tokens: int = 0
    """Tokens that the policy `shift` has dropped to make room."""
    generated_tokens: int = 0
    guessed_tokens: int = 0
    """Tokens that a drafter guessed ahead."""
    accepted_tokens: int = 0
    """How many of them were drawn: they took no step of their own."""
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    time_to_first_token: float = 0.0

    @property
    def computed_tokens(self) -> int:
        """Tokens of the prompt that had to be computed."""
        return self.prompt_tokens - self.cached_tokens

    @property
    def prefill_tps(self) -> float:
        """Prompt tokens computed per second."""
        return _rate(self.computed_tokens, self.prefill_seconds)

    @property
    def decode_tps(self) -> float:
        """Tokens generated per second; the first one comes out of the prefill and is not counted."""
        return _rate(self.generated_tokens - 1, self.decode_seconds)


class Generation(Iterator[str]):
    """Iterate over it for the text, piece by piece; each piece is whole characters and may be shown.

    `finish_reason`: `end` (the model ended its reply), `stop` (a stop string came), `length` (`max_tokens`
    reached), `context` (the context is full), `cancelled`; None while it goes on.

    `fresh` says that the text continues no other: a reply begins without the space of the tokenizer.

    >>> for piece in model.generate("Once upon a time"):     # doctest: +SKIP
    ...     print(piece, end="", flush=True)
    """

    def __init__(
        self,
        session: Session,
        prompt: Sequence[int],
        tokenizer: Tokenizer,
        sampler: Sampler,
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        overflow: Overflow = "stop",
        keep: int = 1,
        drafter: Drafter | None = None,
        fresh: bool = False,
    ) -> None:
        self.session = session
        self.tokens: list[int] = []
        self.text = ""
        self.finish_reason: FinishReason | None = None
        self.stats = GenerationStats()
        if max_tokens is not None and (
            isinstance(max_tokens, bool) or not isinstance(max_tokens, Integral) or max_tokens < 0
        ):
            raise SamplingError(
                f"max_tokens must be a whole number of at least 0, or None, not {quote(max_tokens)}"
            )
        self._prompt = prompt
        self._tokenizer = tokenizer
        self._sampler = sampler
        self._max_tokens: int | None = max_tokens
        self._stream = TextStream(tokenizer, stop, fresh=fresh)
        self._overflow = overflow
        self._keep = keep
        self._speculation = Speculation(session, drafter)
        self._cancelling = threading.Lock()
        self._cancelled = False
        self._pieces = self._generate()

    def __next__(self) -> str:
        return next(self._pieces)

    def complete(self) -> str:
        """Run to the end and give the whole text."""
        for _ in self:
            pass
        return self.text

    def close(self) -> None:
        """Leave it where it is; what was generated stays in the session."""
        self._pieces.close()

    def cancel(self) -> None:
        """From any thread or signal handler: end soon, with the finish reason `cancelled`."""
        with self._cancelling:
            if self.finish_reason is None:
                self._cancelled = True
                self.session.cancel()

    def _generate(self) -> Generator[str, None, None]:
        try:
            for piece in self._text():
                self.text += piece
                yield piece
        except Cancelled:
            self._finish("cancelled")
        finally:
            self._speculation.forget()
            self.stats.guessed_tokens = self._speculation.guessed
            self.stats.accepted_tokens = self._speculation.accepted
            if self.finish_reason is None:  # an error, or the caller has stopped iterating
                self._finish("cancelled")
        rest = self._stream.finish()
        if rest:
            self.text += rest
            yield rest

    def _finish(self, reason: FinishReason) -> None:
        with self._cancelling:
            self.finish_reason = reason
            if self._cancelled:
                self.session.resume()

    def _text(self) -> Iterator[str]:
        began = time.perf_counter()
        if not self._begin():
            self._finish("context")
            return
        if self._max_tokens == 0:
            self._finish("length")
            return
        speculation = self._speculation
        logits = [self.session.logits()]
        prefilled = time.perf_counter()
        self.stats.prefill_seconds = prefilled - began
        while True:
            token = self._sampler.sample(logits.pop(0))
            if not self.tokens:
                self.stats.time_to_first_token = time.perf_counter() - began
            if token in self._tokenizer.end_ids:
                self._finish("end")
                return
            if not speculation.accepts(token):
                logits.clear()
                if not self._make_room():
                    self._finish("context")
                    return
                self.session.extend([token])
            self._sampler.accept(token)
            self.tokens.append(token)
            self.stats.generated_tokens += 1
            self.stats.decode_seconds = time.perf_counter() - prefilled
            piece = self._stream.push(token)
            if piece:
                yield piece
            if self._stream.stopped is not None:
                self._finish("stop")
                return
            if self._max_tokens is not None and len(self.tokens) >= self._max_tokens:
                self._finish("length")
                return
            if not logits:
                logits = speculation.step(self._room())

    def _room(self) -> int:
        """How many tokens may be guessed: the context and `max_tokens` hold one more beside them."""
        room = self.session.context - self.session.length
        return (room if self._max_tokens is None else min(room, self._max_tokens - len(self.tokens))) - 1

    def _begin(self) -> bool:
        """Give the session the prompt; False where it does not fit and the policy says to stop there."""
        prompt, context = list(self._prompt), self.session.context
        if not prompt:
            raise TokenizerError("the prompt has no tokens: there is nothing to continue; give some text")
        if len(prompt) >= context and self._overflow != "error":
            if self._overflow == "stop":
                return False
            room = max(1, context - context // 4)
            keep = min(self._keep, room - 1)
            self.stats.dropped_tokens += len(prompt) - room
            prompt = prompt[:keep] + prompt[len(prompt) - (room - keep) :]
        self._sampler.start(prompt)
        self.stats.prompt_tokens = len(prompt)
        self.stats.cached_tokens = min(self.session.replace(prompt), len(prompt) - 1)
        return True

    def _make_room(self) -> bool:
        """See that one more token fits; False where it does not and the policy says to stop there."""
        session = self.session
        if session.length < session.context:
            return True
        if self._overflow == "stop":
            return False
        if self._overflow == "error":
            raise ContextOverflowError(
                f"the context of {session.context} tokens is full: load the model with a larger context, or "
                "choose the overflow policy stop or shift"
            )
        keep = min(self._keep, session.length - 1)
        count = max(1, (session.length - keep) // 2)
        session.drop(keep, count)
        self.stats.dropped_tokens += count
        return True


def _rate(tokens: int, seconds: float) -> float:
    return max(tokens, 0) / seconds if seconds > 0 else 0.0
