"""The reader's side of a request: pieces of the reply as they come."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from zigai_core.contracts.errors import ZigAIError
from zigai_core.contracts.graph import Array
from zigai_core.engine.request import FinishReason, Piece, Request, TokenLogprobs, Usage


class Awaited(Protocol):
    """What a thread waits for: a `Channel`, or its `Ending`."""

    @property
    def settled(self) -> bool:
        """True if it need not wait any longer."""
        ...


class Driving(Protocol):
    """What a stream needs of the engine."""

    def wait(self, channel: Awaited) -> None:
        """Returns when a request has pieces or has ended; for an `Ending`, when it has ended."""
        ...

    def cancel(self, channel: Channel) -> None:
        """Ends a request soon; takes no lock."""
        ...

    def start(self) -> None:
        """Makes a thread drive the engine from now on."""
        ...

    def wake(self) -> None:
        """Tells the engine that a stream was read; takes no lock."""
        ...


AHEAD = 64
"""A request whose stream holds this many unread tokens is not scheduled."""


class Channel:
    """What a stream and the engine's driver share.

    The driver alone appends pieces and sets the end; the reader alone takes pieces. `cancelled` may be set by
    anybody, without a lock. A sequence refers to its channel and not to its stream, so that a stream nobody
    refers to is collected.
    """

    __slots__ = (
        *("cancelled", "closed", "delivered", "ended", "error", "outputs", "pieces", "pid", "prompt_done"),
        *("read", "ready", "reason", "taken", "text", "usage"),
    )

    def __init__(self) -> None:
        self.pieces: deque[Piece] = deque()
        self.text = ""
        """The text of all pieces that were ever delivered."""
        self.read = ""
        """The text of the pieces that the reader has taken."""
        self.delivered = 0
        self.taken = 0
        self.cancelled = False
        self.closed = False
        self.prompt_done = False
        """True once the prompt was computed, or the request has ended."""
        self.ended = False
        self.reason: FinishReason | None = None
        self.error: BaseException | None = None
        self.outputs: Array | None = None
        self.usage = Usage()
        self.ready: Callable[[], object] | None = None
        self.pid = os.getpid()

    @property
    def settled(self) -> bool:
        """True if the reader need not wait."""
        return bool(self.pieces) or self.ended or self.closed

    @property
    def ahead(self) -> bool:
        """True if the reader is so far behind that the request must wait."""
        return self.delivered - self.taken >= AHEAD


class Ending:
    """The end of a request, whether its pieces were read or not."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @property
    def settled(self) -> bool:
        """True if the request has ended."""
        return self._channel.ended


class Stream(Iterator[Piece]):
    """The reply to one request: an iterator of pieces. Whoever waits for a piece drives the engine.

    A stream is read by one thread. `close`, or the collection of a stream that nobody refers to, ends the
    request; `tokens` and `text` are what the iterator has returned.

    >>> stream = engine.submit(Request([1, 2, 3], sampler=sampler))      # doctest: +SKIP
    >>> for piece in stream:                                             # doctest: +SKIP
    ...     print(piece.text, end="")
    """

    def __init__(self, engine: Driving, request: Request, channel: Channel) -> None:
        self.request = request
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprobs] = []
        self._engine = engine
        self._channel = channel

    def __next__(self) -> Piece:
        """Returns the next piece; computes steps until there is one.

        Raises the error that ended the request, after all pieces before it.
        """
        piece = self.poll()
        if piece is None and not self.done:
            self._engine.wait(self._channel)
            piece = self.poll()
        if piece is not None:
            return piece
        self._raise()
        raise StopIteration

    @property
    def text(self) -> str:
        """The text of all pieces that the iterator has returned."""
        return self._channel.read

    @property
    def engine(self) -> Driving:
        """The engine that computes the request."""
        return self._engine

    @property
    def channel(self) -> Channel:
        """What the stream shares with the engine. It does not refer to the stream."""
        return self._channel

    @property
    def canceller(self) -> Callable[[], None]:
        """A function that does what `cancel` does, and does not refer to the stream."""
        return partial(self._engine.cancel, self._channel)

    @property
    def awaiter(self) -> Callable[[], None]:
        """A function that waits for the end of a cancelled request, and does not refer to the stream."""
        return partial(self._engine.wait, Ending(self._channel))

    def in_background(self) -> None:
        """Makes a thread of the engine compute, so that nobody needs to wait: `poll` and `on_ready`."""
        self._engine.start()

    def poll(self) -> Piece | None:
        """Returns the next piece if there is one: never waits, never computes. For asynchronous readers."""
        channel = self._channel
        self._check_process()
        if not channel.pieces or channel.closed:
            return None
        behind = channel.ahead
        piece = channel.pieces[0]
        channel.taken = len(self.tokens) + len(piece.tokens)
        if behind:
            self._engine.wake()
        self.tokens += piece.tokens  # from here on without a call, after which Ctrl-C could come
        self.logprobs += piece.logprobs
        channel.read += piece.text
        del channel.pieces[0]
        return piece

    def result(self) -> Stream:
        """Reads to the end and returns the stream. Raises the error that ended the request."""
        for _ in self:
            pass
        return self

    def close(self) -> None:
        """Ends the request and the stream: nothing more is returned. Takes no lock."""
        self._channel.closed = True
        self.cancel()

    def cancel(self) -> None:
        """Ends the request soon, with the finish reason `cancelled`; what was generated can be read.

        Takes no lock: it may be called from any thread, from signal handlers and finalisers.
        """
        channel = self._channel
        if not channel.ended and not channel.cancelled:
            self._engine.cancel(channel)

    def on_ready(self, callback: Callable[[], object] | None) -> None:
        """Sets a function that is called, by the driver's thread, after pieces or the end have arrived.

        It is called at once if there is something already. It must not block; an exception in it ends the
        request.
        """
        self._channel.ready = callback
        if callback is not None and (self._channel.pieces or self._channel.ended):
            callback()

    @property
    def done(self) -> bool:
        """True if the request has ended and every piece was read, or the stream was closed."""
        channel = self._channel
        return channel.closed or (channel.ended and not channel.pieces)

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the reply ended; None while there is something to read, and after an error."""
        channel = self._channel
        if channel.closed and not channel.ended:
            return "cancelled"
        return channel.reason if self.done else None

    @property
    def error(self) -> BaseException | None:
        """The exception that ended the request, or None."""
        return self._channel.error

    @property
    def usage(self) -> Usage:
        """Counts and times so far."""
        return self._channel.usage

    @property
    def outputs(self) -> Array:
        """The outputs that the request asked for, float32 `[rows, width]`; computes until they are there."""
        self._check_process()
        while self._channel.outputs is None and not (self._channel.ended or self._channel.closed):
            self._engine.wait(self._channel)
            if self._channel.pieces:
                break
        if self._channel.outputs is None:
            self._raise()
            raise ZigAIError(
                "the request has no outputs: it asked for none"
                if self.request.outputs is None
                else f"the request ended ({self._channel.reason}) before its outputs were computed"
            )
        return self._channel.outputs

    def _check_process(self) -> None:
        if not self._channel.ended and self._channel.pid != os.getpid():
            raise ZigAIError(
                "this stream was opened before the process was forked, and belongs to the parent process; "
                "submit the request again"
            )

    def _raise(self) -> None:
        if self._channel.error is not None:
            raise self._channel.error

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        channel = getattr(self, "_channel", None)
        if channel is not None and not channel.ended and channel.pid == os.getpid():
            self.close()
