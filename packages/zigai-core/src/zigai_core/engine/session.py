"""One conversation: the tokens so far, and as many of them in the cache as have been computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from zigai_core.contracts.errors import ContextOverflowError, TokenizerError
from zigai_core.contracts.graph import Array
from zigai_core.engine.runner import Part, Runner

if TYPE_CHECKING:
    from zigai_core.engine.cache import CachedSequence

Overflow = Literal["error", "stop", "shift"]
"""What to do when the context is full: raise, end the reply there, or drop the oldest tokens and go on."""


class Session:
    """A growing list of tokens whose logits can be asked for; only what is new is computed.

    Cheap to rewind and to fork (a fork shares the pages of the cache). One thread at a time; sessions of
    one model may run in different threads, forks of one session take turns.

    >>> session.extend(tokenizer.encode("Once upon a time"))    # doctest: +SKIP
    >>> logits = session.logits()                               # doctest: +SKIP
    >>> session.rewind(0)                                       # doctest: +SKIP
    """

    def __init__(self, runner: Runner, *, _cached: CachedSequence | None = None) -> None:
        self._runner = runner
        self._cached = runner.pool.new_sequence() if _cached is None else _cached
        self._tokens: list[int] = []

    @property
    def tokens(self) -> tuple[int, ...]:
        """All tokens, computed or not."""
        return tuple(self._tokens)

    @property
    def length(self) -> int:
        """How many tokens there are."""
        return len(self._tokens)

    @property
    def cached(self) -> int:
        """How many of them are in the cache."""
        return self._cached.length

    @property
    def context(self) -> int:
        """How many there may be."""
        return self._runner.program.options.context

    @property
    def vocabulary(self) -> int:
        """How many tokens the model has."""
        return self._runner.program.graph.vocabulary_size

    def extend(self, tokens: Sequence[int]) -> None:
        """Append tokens; they are computed when logits are asked for.

        `ContextOverflowError` where the context cannot hold them, `TokenizerError` for an id the model does
        not have; nothing is appended then.
        """
        if self.length + len(tokens) > self.context:
            raise _overflow(self.length, len(tokens), self.context)
        limit = self._runner.program.graph.token_limit
        for token in tokens:
            if not 0 <= token < limit:
                raise TokenizerError(f"token {token} is outside the model's vocabulary of {limit}")
        self._tokens.extend(int(token) for token in tokens)

    def replace(self, tokens: Sequence[int]) -> int:
        """Make these the session's tokens, keeping what the cache holds of a common beginning.

        Gives the number of tokens that are already in the cache.
        """
        if len(tokens) > self.context:
            raise _overflow(0, len(tokens), self.context)
        common = 0
        for old, new in zip(self._tokens, tokens, strict=False):
            if old != new:
                break
            common += 1
        self.rewind(common)
        self.extend(tokens[common:])
        return self.cached

    def rewind(self, length: int) -> None:
        """Forget all tokens from `length` on."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot rewind a session of {self.length} tokens to {length}")
        del self._tokens[length:]
        if length < self.cached:
            self._cached.truncate(length)

    def drop(self, start: int, count: int) -> None:
        """Forget `count` tokens from `start` on; those after them move up and are computed anew."""
        kept = self._tokens[start + count :]
        self.rewind(start)
        self._tokens.extend(kept)

    def logits(self) -> Array:
        """Logits of the token after the last one: float32 `[vocabulary]`; see `output`."""
        return self.output("logits")

    def hidden(self) -> Array:
        """The last token's normalised hidden state: float32 `[width]`; see `output`."""
        return self.output("hidden")

    def output(self, name: str) -> Array:
        """One of the graph's outputs for the last token: float32 `[width]`.

        `UnsupportedError`, before anything is computed, where the graph has no output of this name.
        """
        self._runner.program.graph.output(name)
        last: Array = self._evaluate(want_all=False)[name][-1]
        return last

    def all_logits(self) -> Array:
        """Logits after each token that was not computed before: float32 `[tokens, vocabulary]`."""
        self._runner.program.graph.output("logits")
        return self._evaluate(want_all=True)["logits"]

    def fork(self) -> Session:
        """A second session with the same tokens, which shares this one's context and cached pages."""
        twin = Session(self._runner, _cached=self._cached.fork())
        twin._tokens = list(self._tokens)
        return twin

    def cancel(self) -> None:
        """From any thread: computing ends soon with `Cancelled`, here and in forks, until `resume()`."""
        self._runner.context.cancel()

    def resume(self) -> None:
        """From any thread: allow computing again."""
        self._runner.context.resume()

    def close(self) -> None:
        """Give the cache's pages back; the session is empty then."""
        self.rewind(0)

    def _evaluate(self, *, want_all: bool) -> dict[str, Array]:
        if not self._tokens:
            raise ValueError("the session has no tokens yet: extend() it first")
        if self.cached == self.length:
            # Its outputs were given before and are not kept: compute the last token once more.
            self._cached.truncate(self.length - 1)
        part = Part(self._cached, self._tokens[self.cached :], want_all)
        return dict(self._runner.run([part])[0])


def _overflow(length: int, more: int, context: int) -> ContextOverflowError:
    return ContextOverflowError(
        f"{length} + {more} tokens do not fit into a context of {context}: load the model with a larger "
        "context, shorten the text, or choose the overflow policy stop or shift"
    )
