"""Replies for asynchronous programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

from zigai_core.api.reply import Reply
from zigai_core.engine.request import Piece

R = TypeVar("R", bound=Reply, covariant=True)


class AsyncReply(AsyncIterator[str], Generic[R]):
    """A reply that is read with `async for`, or awaited for its whole text.

    A thread of the engine computes it; the event loop is never blocked by a step. `reply` is the reply
    itself, with its tokens, usage and finish reason. Leaving the `async with` block closes it.

    >>> async for piece in model.agenerate("Once upon a time"):      # doctest: +SKIP
    ...     print(piece, end="", flush=True)
    >>> await model.agenerate("Once upon a time", max_tokens=16)     # doctest: +SKIP
    ', there was a little girl named Lily.'
    """

    def __init__(self, reply: R) -> None:
        self.reply = reply
        self._ready: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        reply.stream.in_background()

    async def __anext__(self) -> str:
        stream = self.reply.stream
        while True:
            piece: Piece | None = stream.poll()
            if piece is not None:
                if piece.text:
                    return piece.text
            elif stream.done:
                stream.on_ready(None)
                if stream.error is not None:
                    raise stream.error
                raise StopAsyncIteration
            else:
                await self._wait()

    async def _wait(self) -> None:
        """Returns when the stream may have something new."""
        loop = asyncio.get_running_loop()
        if self._ready is None or self._loop is not loop:
            self._ready, self._loop = asyncio.Event(), loop
            self.reply.stream.on_ready(partial(_set, self._ready, loop))
        await self._ready.wait()
        self._ready.clear()

    def __await__(self) -> Generator[Any, None, str]:
        return self._text().__await__()

    async def _text(self) -> str:
        try:
            async for _ in self:
                pass
        except asyncio.CancelledError:  # nobody else may have the reply
            self.cancel()
            raise
        return self.reply.read_text

    def cancel(self) -> None:
        """Ends the reply soon, with the finish reason `cancelled`. From any thread or signal handler."""
        self.reply.cancel()

    def close(self) -> None:
        """Ends the reply; text that was not read is dropped."""
        self.reply.close()

    async def __aenter__(self) -> AsyncReply[R]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _set(ready: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    """Sets an event of a loop from another thread; nobody waits for it if the loop is closed."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(ready.set)
