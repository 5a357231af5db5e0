"""Work in a thread of its own, so that Ctrl-C works even during a long native step."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Generic, Protocol, TypeVar

from zigai_cli.terminal.keyboard import leave

POLL_SECONDS = 0.1
"""Seconds without a piece after which iterating over a `Running` yields None."""
_INTERRUPT, _END = object(), object()
_STILL_STOPPING = b"\nstill stopping; press Ctrl-C again to leave the program\n"


class Cancellable(Protocol):
    """Work that can be cancelled, such as a `zigai_core.api.reply.Reply`."""

    def cancel(self) -> None:
        """End the work soon. Called from any thread."""
        ...


G = TypeVar("G", bound=Cancellable)
P = TypeVar("P")


class Running(Generic[G, P]):
    """A reply or a measurement that is made in another thread. Iterating yields its pieces.

    It yields None if no piece has come for `POLL_SECONDS`. `start` starts the generation and `read` iterates
    over its pieces; both are called in that thread, and iterating raises their exceptions again.

    Within the `with` block Ctrl-C cancels the generation: iterating then ends soon and `interrupted` is True.
    A second Ctrl-C prints that this is under way; a third ends the process, since a step may never return.

    >>> with Running(lambda: model.generate("Once upon a time"), iter) as reply:     # doctest: +SKIP
    ...     for piece in reply:
    ...         print(piece or "", end="")
    """

    def __init__(self, start: Callable[[], G], read: Callable[[G], Iterator[P]]) -> None:
        self.interrupted = False
        self._start = start
        self._read = read
        self._generation: G | None = None
        # SimpleQueue.put is reentrant, so that a signal handler may call it at any moment.
        self._pieces: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._presses = 0
        self._leaving = False
        self._previous: Any = None
        self._thread = threading.Thread(target=self._work, name="zig-ai running", daemon=True)

    @property
    def generation(self) -> G:
        """The generation. Raises `RuntimeError` before it has started; after the iteration it always has."""
        if self._generation is None:
            raise RuntimeError("the reply has not begun")
        return self._generation

    def __enter__(self) -> Running[G, P]:
        main = threading.current_thread() is threading.main_thread()
        # If SIGINT is ignored (a shell's background job), it stays ignored.
        if main and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            self._previous = signal.signal(signal.SIGINT, self._on_interrupt)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancel()
        self._thread.join()
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def __iter__(self) -> Iterator[P | None]:
        while True:
            try:
                piece = self._pieces.get(timeout=POLL_SECONDS)
            except queue.Empty:
                yield None
                continue
            if piece is _END:
                return
            if piece is _INTERRUPT:
                self.interrupted = True
                self._cancel()
            elif isinstance(piece, BaseException):
                raise piece
            else:
                yield piece

    def _on_interrupt(self, signal_number: int, frame: FrameType | None) -> None:
        # The next signal may interrupt this handler, so it takes no lock.
        self._presses += 1
        self._pieces.put(_INTERRUPT)
        if self._presses == 2:
            os.write(2, _STILL_STOPPING)
        elif self._presses > 2:
            leave(130)

    def _cancel(self) -> None:
        self._leaving = True
        if self._generation is not None:
            self._generation.cancel()

    def _work(self) -> None:
        try:
            generation = self._generation = self._start()
            if self._leaving:  # cancelled before the generation existed
                generation.cancel()
            for piece in self._read(generation):
                self._pieces.put(piece)
        except BaseException as error:  # raised again by __iter__
            self._pieces.put(error)
        else:
            self._pieces.put(_END)
