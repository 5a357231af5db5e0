"""Requests on their way to the driver."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from operator import methodcaller

from zigai_core.contracts.errors import QueueFullError, ZigAIError
from zigai_core.engine.request import Request
from zigai_core.engine.sequence import Sequence
from zigai_core.engine.stepper import Stepper
from zigai_core.engine.stream import Channel

Command = Callable[[Stepper], None]
"""What others ask of the driver. It may be carried out again if an interrupt comes in the middle."""


class Inbox:
    """The queue of requests that wait for their first step, at most `limit`, and other commands.

    Anybody puts into it; the driver alone carries out.
    """

    def __init__(self, stepper: Stepper, lock: threading.RLock, limit: int) -> None:
        self.commands: deque[Command] = deque()
        self.submitted = 0
        """Number of requests that were put in so far."""
        self._stepper = stepper
        self._queued = stepper.queued
        self._lock = lock
        self._limit = limit

    @property
    def full(self) -> bool:
        """True if there is no room but that of cancelled requests."""
        return len(self._queued) >= self._limit

    def claim(self, request: Request, channel: Channel) -> None:
        """Makes a request, and its sampler, those of one reply.

        Raises `ZigAIError` if one of them is another reply's.
        """
        sampler = request.sampler
        with self._lock:
            if request.once[0]:
                raise ZigAIError(
                    "submit: this request was submitted before; make a new one for another reply"
                )
            if sampler is not None and sampler.reply is not None and not sampler.reply.ended:
                raise ZigAIError(
                    "submit: the request's sampler belongs to a reply that has not ended; make a sampler for "
                    "each"
                )
            request.once[0] = True
            if sampler is not None:
                sampler.reply = channel

    def disclaim(self, request: Request) -> None:
        """Lets a request that was not put in be submitted again."""
        request.once[0] = False
        if request.sampler is not None:
            request.sampler.reply = None

    def put(self, sequence: Sequence) -> None:
        """Puts a sequence into the queue. Raises `QueueFullError`, or `ZigAIError` for a closed engine."""
        queued, add = self._queued, methodcaller("add", sequence)  # no call before the last one; see `Role`
        with self._lock:
            if self._stepper.closing:
                raise ZigAIError("submit: the engine is closed")
            if self.full:
                live = sum(not each.cancelled for each in list(queued))
                if live >= self._limit:
                    raise QueueFullError(
                        f"{live} requests are waiting already, and the queue holds {self._limit}; "
                        "try again later"
                    )
            queued[sequence.channel] = None
            self.submitted += 1
            self.commands.append(add)

    def fail(self, channel: Channel, error: BaseException) -> None:
        """Asks for the end of a request with an error."""
        self.commands.append(methodcaller("cancel", channel, error))

    def carry_out(self) -> None:
        """Carries out what was asked for. For the driver."""
        while self.commands:
            self.commands[0](self._stepper)
            del self.commands[0]

    def check(self) -> None:
        """Raises `AssertionError` if the queue holds a request that does not wait."""
        waiting = len(self.commands) + sum(not each.started for each in self._stepper.sequences.values())
        assert len(self._queued) <= waiting, "the queue holds a request that does not wait"
