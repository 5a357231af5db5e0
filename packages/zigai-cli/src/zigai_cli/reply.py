"""A generation in a thread of its own, so that Ctrl-C is heard even within a long native step."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Generic, Protocol, TypeVar

PATIENCE = 0.1
"""Seconds without a piece after which the one who waits is told so."""
_INTERRUPT, _END = object(), object()
_STILL_STOPPING = b"\nstill stopping the reply; Ctrl-C once more leaves the program\n"


class Cancellable(Protocol):
    """What runs until it is cancelled, such as a `Generation`."""

    def cancel(self) -> None:
        """From any thread: end soon."""
        ...


G = TypeVar("G", bound=Cancellable)
P = TypeVar("P")


class Reply(Generic[G, P]):
    """Iterate over it for pieces, and None for each tenth of a second in which none has come.

    `start` begins the generation, `read` says what a piece of it is; both are called in the thread.

    Within the `with` block Ctrl-C cancels the generation: iterating then ends soon and `interrupted` is true.
    A second one says that this is under way; a third leaves the process, because nothing else is left to
    do about a step that does not end.

    >>> with Reply(lambda: model.generate("Once upon a time"), iter) as reply:     # doctest: +SKIP
    ...     for piece in reply:
    ...         print(piece or "", end="")
    """

    def __init__(self, start: Callable[[], G], read: Callable[[G], Iterator[P]]) -> None:
        self.interrupted = False
        self._start = start
        self._read = read
        self._generation: G | None = None
        # SimpleQueue, because a signal handler may put into it whatever the thread was doing.
        self._pieces: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._presses = 0
        self._leaving = False
        self._previous: Any = None
        self._thread = threading.Thread(target=self._work, name="zig-ai reply", daemon=True)

    @property
    def generation(self) -> G:
        """The generation, once there is one: at the end of the iteration there is."""
        if self._generation is None:
            raise RuntimeError("the reply has not begun")
        return self._generation

    def __enter__(self) -> Reply[G, P]:
        main = threading.current_thread() is threading.main_thread()
        # Where Ctrl-C is ignored (`nohup`, a shell's background job), it stays so.
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
                piece = self._pieces.get(timeout=PATIENCE)
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
        # A handler may itself be interrupted by the next signal, so it takes no lock.
        self._presses += 1
        self._pieces.put(_INTERRUPT)
        if self._presses == 2:
            os.write(2, _STILL_STOPPING)
        elif self._presses > 2:
            os._exit(130)

    def _cancel(self) -> None:
        self._leaving = True
        if self._generation is not None:
            self._generation.cancel()

    def _work(self) -> None:
        try:
            generation = self._generation = self._start()
            if self._leaving:  # asked for while there was nothing to cancel yet
                generation.cancel()
            for piece in self._read(generation):
                self._pieces.put(piece)
        except BaseException as error:  # it is raised again where the pieces are read
            self._pieces.put(error)
        else:
            self._pieces.put(_END)
