"""A thread that drives an engine."""

from __future__ import annotations

import threading
import weakref
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Protocol

IDLE = 0.05
"""Seconds between two looks at deadlines and cancellations, while requests wait for their readers."""


class Driven(Protocol):
    """What the thread needs of the engine."""

    def drive(self) -> bool:
        """Takes the role of the driver for the calling thread and computes a step.

        True if there may be another one, or if another thread has the role.
        """
        ...

    def give_up(self) -> None:
        """Ends the calling thread's role of the driver."""
        ...

    @property
    def holds_requests(self) -> bool:
        """True while there are requests that have not ended."""
        ...


class Background:
    """A daemon thread with the role of the driver. Between steps, it refers to the engine weakly.

    It ends when the engine is closed or collected.
    """

    def __init__(self, engine: Driven) -> None:
        self._ended = threading.Event()
        self._wakes: SimpleQueue[None] = SimpleQueue()
        arguments = weakref.ref(engine), self._wakes, self._ended
        self._thread = threading.Thread(target=_drive, args=arguments, daemon=True)
        self._thread.name = "zigai-engine"
        # No lock in the collector; the thread finds that the engine is gone.
        weakref.finalize(engine, self._wakes.put, None).atexit = False

    def start(self) -> None:
        """Starts the thread; it ends at once if an interrupt comes meanwhile."""
        try:
            self._thread.start()
        except BaseException:
            self.end()
            raise

    @property
    def alive(self) -> bool:
        """True until the thread has ended."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Makes the thread look for something to compute; takes no lock."""
        self._wakes.put(None)

    def end(self) -> None:
        """Makes the thread end after its step."""
        self._ended.set()
        self.wake()

    def join(self) -> None:
        """Waits for the end of the thread, after `end`."""
        if threading.current_thread() is not self._thread:
            self._thread.join()


def _drive(engine: weakref.ref[Driven], wakes: SimpleQueue[None], ended: threading.Event) -> None:
    try:
        while not ended.is_set():
            alive = engine()
            if alive is None:
                return
            while not wakes.empty():
                wakes.get()
            busy = alive.drive()
            timeout = IDLE if alive.holds_requests else None
            del alive
            if not busy and not ended.is_set():
                with suppress(Empty):
                    wakes.get(timeout=timeout)
    finally:
        alive = engine()
        if alive is not None:
            alive.give_up()
