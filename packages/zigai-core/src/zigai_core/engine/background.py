"""A thread that drives an engine."""

from __future__ import annotations

import threading
import weakref
from queue import Empty, SimpleQueue
from typing import Any, Protocol

IDLE = 0.05
"""Seconds between two looks at deadlines, while requests wait for their readers."""


class Driven(Protocol):
    """What the thread needs of the engine."""

    commands: SimpleQueue[Any]
    """What others ask of the driver."""

    def drive(self, me: object) -> bool:
        """Takes the role of the driver for `me` and computes a step; True if there may be another one."""
        ...

    def give_up(self, me: object) -> None:
        """Ends the role of the driver."""
        ...

    def put_back(self, command: Any) -> None:
        """Gives a command to the next step."""
        ...

    def interrupt(self) -> None:
        """Ends a running step soon; takes no lock."""
        ...

    @property
    def holds_requests(self) -> bool:
        """True while there are requests that have not ended."""
        ...


class Background:
    """A daemon thread with the role of the driver. Between steps, it refers to the engine weakly.

    It ends when the engine is closed or collected; at the exit of the interpreter, the engine's `finalize`
    ends and joins it.
    """

    def __init__(self, engine: Driven) -> None:
        self._ended = threading.Event()
        self._commands = engine.commands
        self._engine = weakref.ref(engine)
        self._thread = threading.Thread(
            target=_drive, args=(self._engine, self._commands, self._ended), daemon=True
        )
        self._thread.name = "zigai-engine"
        self._thread.start()
        weakref.finalize(engine, self.join)

    def join(self) -> None:
        """Ends the thread after its step, and waits for it."""
        self._ended.set()
        engine = self._engine()
        if engine is not None:
            engine.interrupt()
        del engine
        self._commands.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()


def _drive(engine: weakref.ref[Driven], commands: SimpleQueue[Any], ended: threading.Event) -> None:
    me = object()
    try:
        while not ended.is_set():
            alive = engine()
            if alive is None:
                return
            busy = alive.drive(me)
            timeout = IDLE if alive.holds_requests else None
            del alive
            if busy:
                continue
            try:
                command = commands.get(timeout=timeout)
            except Empty:
                continue
            alive = engine()
            if alive is not None:
                alive.put_back(command)
            del alive
    finally:
        alive = engine()
        if alive is not None:
            alive.give_up(me)
