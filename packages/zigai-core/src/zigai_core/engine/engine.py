"""The engine: one program, many requests at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count

import numpy as np

from zigai_core.contracts.errors import ZigAIError
from zigai_core.contracts.plugins import Program
from zigai_core.engine.at_exit import close_at_exit
from zigai_core.engine.background import Background
from zigai_core.engine.fitting import fitted_prompt
from zigai_core.engine.inbox import Inbox
from zigai_core.engine.request import Budget, EngineStats, Request
from zigai_core.engine.role import Role
from zigai_core.engine.sequence import Sequence as EngineSequence
from zigai_core.engine.stepper import Stepper
from zigai_core.engine.stream import Awaited, Channel, Stream

QUEUE = 1024
"""Default for the requests that may wait for their first step."""


class Engine:
    """Computes requests together, whoever they come from: all public calls of a model go through one.

    There is no thread of its own unless `start` makes one: whoever waits for a stream drives, one thread at a
    time, and computes for all. Steps, samplers and the executor belong to the driver alone. `queue` is the
    most requests that may wait for their first step.

    >>> with Engine(program) as engine:                                  # doctest: +SKIP
    ...     stream = engine.submit(Request([1, 2, 3], sampler=Sampler(SamplingOptions.greedy())))
    ...     stream.result().tokens
    """

    _stepping: int | None
    """The thread inside a step."""
    _background: Background | None
    _closed: bool
    _pid: int

    def __init__(self, program: Program, *, budget: Budget | None = None, queue: int = QUEUE) -> None:
        self.program = program
        self.budget = budget or Budget()
        self._queue = queue
        self._renewal: dict[int, AbstractContextManager[bool]] = {}
        self._renewing = False
        self._start_afresh()
        close_at_exit(self)

    @property
    def context(self) -> int:
        """The most tokens of a sequence: of the program's context and the budget, the smaller."""
        return self._stepper.context

    def submit(self, request: Request) -> Stream:
        """Queues a request. Computes nothing.

        Raises `ContextOverflowError` if the request can never fit, `QueueFullError` if the queue is full,
        `UnsupportedError` for outputs that the graph does not have.
        """
        return self._submit(request, None)

    def fork(self, stream: Stream, request: Request) -> Stream:
        """Queues a request that begins like another: it waits until the prompt of that is computed.

        Whole pages of what both begin with are shared and a part of a page is copied, so that `n` answers to
        one prompt compute it once. Raises `ZigAIError` for a stream of another engine.
        """
        if stream.engine is not self:
            raise ZigAIError("fork: the stream is one of another engine")
        if request.types is not None or stream.request.types is not None:
            raise ZigAIError("fork: tokens that have types share nothing with others; submit the request")
        if request.embeddings is not None or stream.request.embeddings is not None:
            raise ZigAIError("fork: a prompt with embeddings shares nothing with others; submit the request")
        return self._submit(request, stream.channel)

    def step(self) -> bool:
        """Computes one step, in the calling thread. False if there is nothing to compute.

        Raises `ZigAIError` if another thread drives.
        """
        self._enter_open("step")
        self._enter("step")
        me, role = threading.get_ident(), self._role
        try:
            if not role.take():
                raise ZigAIError("step: another thread is driving the engine; read a stream instead")
            return self._step()
        finally:
            if role.holder == me:
                role.holder = None
            role.tell()

    def stats(self) -> EngineStats:
        """Returns counts and the present state. May be called from any thread."""
        self._look_for_fork()
        return self._stepper.stats(self._inbox.submitted)

    def check(self) -> None:
        """Raises `AssertionError` unless all invariants hold. For tests; nobody may drive meanwhile."""
        self._enter_open("check")
        self._enter("check")
        self._stepper.check()
        self._inbox.check()

    def start(self) -> None:
        """Starts a daemon thread that drives from now on; for asynchronous readers and servers.

        The thread does not keep the engine alive. It ends with `close`, with the engine, or at exit.
        """
        self._enter_open("start")
        with self._role.lock:
            if not self._closing and (self._background is None or not self._background.alive):
                background = Background(self)
                background.start()
                self._background = background

    def close(self) -> None:
        """Ends all requests with the reason `cancelled`, and frees the executor.

        A `close` that was interrupted has no effect on readers but that their streams end; another one
        completes it.
        """
        self._close(None)

    def close_at_exit(self, patience: float) -> None:
        """Closes the engine when the interpreter exits, and waits for its driver so many seconds."""
        if os.getpid() == self._pid:
            self._close(patience)

    def _close(self, patience: float | None) -> None:
        if self._closed:
            return
        self._enter("close")
        me, role, background = threading.get_ident(), self._role, self._background
        end = None if patience is None else time.monotonic() + patience
        self._stepper.closing = True  # before `stop`, which a step that begins sets to 0
        self._stop[0] = 1
        if background is not None:
            background.end()
        try:
            while not self._closed:
                if role.take():
                    self._step()
                    self._stepper.close()
                    self._closed = True
                elif end is not None and time.monotonic() > end:
                    return
                else:
                    role.wait(lambda: role.holder is None or self._closed)
        finally:
            if role.holder == me:
                role.holder = None
            role.tell()
        if background is not None:
            background.join()

    def wait(self, channel: Awaited) -> None:
        """Returns when a request has pieces or has ended; drives if nobody does. For `Stream`."""
        if channel.settled:
            return
        self._enter("reading a stream")
        me, role = threading.get_ident(), self._role
        try:
            while not channel.settled:
                if not role.take():
                    role.wait(lambda: channel.settled or role.holder is None)
                elif not self._step() and not channel.settled:
                    raise ZigAIError(
                        "the engine can compute nothing, but a request has not ended; report this"
                    )
        finally:
            if role.holder == me:
                role.holder = None
            role.tell()

    def cancel(self, channel: Channel) -> None:
        """Ends a request soon; takes no lock. For `Stream`."""
        channel.cancelled = True
        if self._stepper.alone is channel:
            self._stop[0] = 1
        self.wake()

    def wake(self) -> None:
        """Wakes the background thread if it has nothing to do; takes no lock."""
        if self._background is not None:
            self._background.wake()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_afresh(self) -> None:
        """Makes everything that belongs to this process."""
        self._stop = np.zeros(1, np.int32)
        self._stepper = Stepper(self.program, self.budget, self._stop)
        self._role = Role()
        self._stepping = None
        self._inbox = Inbox(self._stepper, self._role.lock, self._queue)
        self._arrivals = count()
        self._background = None
        self._closed = False
        self._pid = os.getpid()

    def _look_for_fork(self) -> None:
        """Starts afresh in the child after a fork of the process."""
        process = os.getpid()
        if process != self._pid:
            with self._renewal.setdefault(process, threading.RLock()):
                if self._renewing:
                    raise ZigAIError(
                        "not possible in a signal handler while the engine is made anew after a fork"
                    )
                if process != self._pid:
                    self._renewing = True
                    try:
                        self._start_afresh()
                    finally:
                        self._renewing = False

    def _enter(self, call: str) -> None:
        """Raises by name if the calling thread drives."""
        self._look_for_fork()
        self._refuse(call, self._role.holder)

    def _enter_open(self, call: str) -> None:
        """Raises by name inside a step, and if the engine is closed."""
        self._look_for_fork()
        self._refuse(call, self._stepping)
        if self._closing:
            raise ZigAIError(f"{call}: the engine is closed")

    def _refuse(self, call: str, thread: int | None) -> None:
        if thread == threading.get_ident():
            raise ZigAIError(
                f"{call}: not possible from inside a step of the same engine, nor otherwise on the thread "
                "that drives it (from a sampler, a drafter, a stop string, a function given to on_ready or "
                "a signal handler); do it when the call that drives has returned, or cancel() the stream"
            )

    def _submit(self, request: Request, parent: Channel | None) -> Stream:
        self._enter_open("submit")
        prompt = fitted_prompt(request, self.program, self.context)
        channel = Channel()
        channel.usage.prompt_tokens = len(prompt)
        channel.usage.dropped_tokens = len(request.prompt) - len(prompt)
        groups = len(self._stepper.memory.groups)
        sequence = EngineSequence(request, channel, prompt, next(self._arrivals), groups)
        sequence.waits_for = parent
        stream = Stream(self, request, channel)
        self._inbox.claim(request, channel)
        try:
            if request.sampler is not None:
                request.sampler.start(prompt)
            if self._inbox.full:
                self._end_cancelled()
            self._inbox.put(sequence)
        except BaseException:
            self._inbox.disclaim(request)
            raise
        self.wake()
        return stream

    def _end_cancelled(self) -> None:
        """Ends what was cancelled or is too late, unless a driver is about to; computes nothing."""
        me, role = threading.get_ident(), self._role
        if role.holder == me:
            return
        try:
            if role.take():
                self._step(compute=False)
        finally:
            if role.holder == me:
                role.holder = None
            role.tell()

    def drive(self) -> bool:
        """Computes a step of the background thread, which keeps the role."""
        role = self._role
        if role.take():
            return self._step()
        role.wait(lambda: role.holder is None)
        return True

    def give_up(self) -> None:
        """Ends the role of the background thread."""
        if self._role.holder == threading.get_ident():
            self._role.holder = None
        self._role.tell()

    @property
    def _closing(self) -> bool:
        return self._stepper.closing

    @property
    def holds_requests(self) -> bool:
        """True while there are requests that have not ended."""
        return bool(self._stepper.sequences)

    def _step(self, *, compute: bool = True) -> bool:
        """Computes a step; the caller is the driver."""
        if self._closed:
            return False
        self._stepping = threading.get_ident()
        try:
            return self._stepper.step(self._drain, compute=compute and not self._closing)
        finally:
            self._stepping = None
            self._after_step()

    def _drain(self) -> None:
        """Carries out what was asked for."""
        self._inbox.carry_out()
        if self._closing:
            for sequence in list(self._stepper.sequences.values()):
                self._stepper.end(sequence, "cancelled")

    def _after_step(self) -> None:
        """Tells those who wait what has come."""
        touched = self._stepper.touched
        if touched:
            self._role.tell()
        while touched:
            channel = touched[0]
            ready = channel.ready
            if ready is not None:
                self._call(channel, ready)
            del touched[0]

    def _call(self, channel: Channel, ready: Callable[[], object]) -> None:
        try:
            ready()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit would end the thread that computes for all
            channel.ready = None
            self._inbox.fail(channel, error)
