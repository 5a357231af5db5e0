"""Replies: text as it is generated, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType

from zigai_core.api.logprobs import DrawnToken, drawn_token
from zigai_core.api.turn import Turn
from zigai_core.contracts.errors import escape
from zigai_core.contracts.plugins import Tokenizer
from zigai_core.engine.request import FinishReason, Usage
from zigai_core.engine.stream import Stream
from zigai_core.text.reasoning import Part, ReasoningStream, split_reasoning


class Reply(Iterator[str]):
    """The reply to a prompt: an iterator of pieces of text, each of whole characters.

    Iterating computes as far as it reads; other replies of the model are computed in the same steps. `text`,
    and printing the reply, waits for its end. A reply is read by one thread; `cancel` may be called from any
    other, and from signal handlers. It ends when it is read to its end, when it is cancelled or closed, and
    when its `with` block is left; a reply that nobody refers to is closed.

    >>> for piece in model.generate("Once upon a time", max_tokens=16):     # doctest: +SKIP
    ...     print(piece, end="", flush=True)
    >>> model.generate("Once upon a time", max_tokens=16).text             # doctest: +SKIP
    ', there was a little girl named Lily.'
    """

    def __init__(self, stream: Stream, tokenizer: Tokenizer, *, context: int, seed: int) -> None:
        self._tokenizer = tokenizer
        self.context = context
        """Maximum number of tokens, of prompt and reply together."""
        self.seed = seed
        """The seed of its draws, with which it can be repeated."""
        self.stream = stream
        """The engine's stream: the pieces of the reply, with tokens."""

    def __next__(self) -> str:
        for piece in self.stream:
            if piece.text:
                return piece.text
        raise StopIteration

    @property
    def text(self) -> str:
        """The whole text; waits for the end. After `close`, the text that was read."""
        for _ in self:
            pass
        return self.stream.text

    @property
    def read_text(self) -> str:
        """The text that was read so far; does not wait."""
        return self.stream.text

    @property
    def tokens(self) -> list[int]:
        """The token ids that were read so far; does not wait."""
        return self.stream.tokens

    @property
    def logprobs(self) -> list[DrawnToken]:
        """For each of `tokens`, its text and log-probability, and the most likely tokens, if asked for."""
        return [drawn_token(given, self._tokenizer) for given in self.stream.logprobs]

    @property
    def prompt(self) -> list[int]:
        """The token ids of the prompt, those included that were dropped because the context was full."""
        return list(self.stream.request.prompt)

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the reply ended; None before it was read to its end.

        `end`: the model generated an end token. `stop`: a stop string occurred. `length`: `max_tokens` was
        reached. `context`: the context is full. `cancelled`: `cancel` or `close` was called. `deadline`: the
        deadline passed.
        """
        return self.stream.finish_reason

    @property
    def usage(self) -> Usage:
        """Counts of tokens, and times, so far."""
        return self.stream.usage

    @property
    def context_used(self) -> int:
        """Number of tokens of prompt and reply that are in the context; those that were dropped are not."""
        usage = self.stream.usage  # all dropped tokens are of this request
        return len(self.stream.request.prompt) + usage.generated_tokens - usage.dropped_tokens

    def cancel(self) -> None:
        """Ends the reply soon, with the finish reason `cancelled`. From any thread or signal handler."""
        self.stream.cancel()

    def close(self) -> None:
        """Ends the reply; text that was not read is dropped."""
        self.stream.close()

    def __enter__(self) -> Reply:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        error = self.stream.error
        state: str = self.finish_reason or "open"
        if error is not None:
            state = f"failed with {type(error).__name__} ({escape(str(error))})"
        return f"<{type(self).__name__} of {len(self.tokens)} tokens, {state}: {self.read_text[-40:]!r}>"


class ChatReply(Reply):
    """The reply to a message of a chat. It is added to the chat's messages when it ends, for any reason.

    Its text is all that the model generates, reasoning included; `parts`, `reasoning` and `answer` separate
    the two.
    """

    def __init__(
        self, stream: Stream, tokenizer: Tokenizer, turn: Turn, *, context: int, seed: int, dropped: int = 0
    ) -> None:
        super().__init__(stream, tokenizer, context=context, seed=seed)
        self._turn = turn
        self._dropped = dropped

    @property
    def usage(self) -> Usage:
        """Counts of tokens, and times, so far. The tokens of dropped turns count as dropped."""
        usage = super().usage
        return replace(usage, dropped_tokens=usage.dropped_tokens + self._dropped)

    def parts(self) -> Iterator[Part]:
        """The pieces of the reply as they are generated, each marked as reasoning or answer."""
        stream = ReasoningStream(begun=self._turn.begun)
        for piece in self:
            yield from stream.push(piece)
        yield from stream.finish()

    @property
    def reasoning(self) -> str:
        """The model's reasoning before its answer, as far as it was read."""
        return split_reasoning(self.read_text, begun=self._turn.begun)[0]

    @property
    def answer(self) -> str:
        """The reply without its reasoning, as far as it was read."""
        return split_reasoning(self.read_text, begun=self._turn.begun)[1]
