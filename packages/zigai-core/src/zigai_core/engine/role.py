"""The role of the driver: which thread computes for all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

RECHECK = 1.0
"""Seconds after which a waiting thread looks again, woken or not."""


class Role:
    """At most one thread has the role; the others wait until something has changed.

    Whoever takes the role gives it up in a `finally` clause by `holder = None`, without a call before it: an
    interrupt (Ctrl-C) is raised after a call or at its start, and must not come in between. For the same
    reason a waiting thread has a queue of its own and no condition variable, whose lock could stay taken.
    """

    def __init__(self) -> None:
        self.holder: int | None = None
        """The thread that has the role."""
        self.lock = threading.RLock()
        """Guards `holder`, and the engine's queue; never held while a step or anybody's code runs."""
        self._gates: dict[SimpleQueue[None], None] = {}

    def take(self) -> bool:
        """Gives the role to the calling thread if nobody has it. True if the thread has it."""
        me = threading.get_ident()
        with self.lock:
            if self.holder is None:
                self.holder = me
        return self.holder == me

    def wait(self, needless: Callable[[], bool]) -> None:
        """Returns when `tell` is called, or after `RECHECK` seconds; at once if `needless()`."""
        gate: SimpleQueue[None] = SimpleQueue()
        self._gates[gate] = None
        try:
            if not needless():
                with suppress(Empty):
                    gate.get(timeout=RECHECK)
        finally:
            self._gates.pop(gate, None)

    def tell(self) -> None:
        """Makes all threads that wait look again."""
        for gate in list(self._gates):
            gate.put(None)
