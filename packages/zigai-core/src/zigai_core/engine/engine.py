"""The engine: one program, many requests at once."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from queue import SimpleQueue

import numpy as np

from zigai_core.contracts.errors import (
    ContextOverflowError,
    QueueFullError,
    TokenizerError,
    UnsupportedError,
    ZigAIError,
)
from zigai_core.contracts.plugins import Program
from zigai_core.engine.background import Background
from zigai_core.engine.drawing import shifted
from zigai_core.engine.request import Budget, EngineStats, Request, drop_middle
from zigai_core.engine.sequence import Sequence as EngineSequence
from zigai_core.engine.stepper import Stepper
from zigai_core.engine.stream import Awaited, Channel, Stream

Command = tuple[Callable[..., None], EngineSequence | Channel] | None

RECHECK = 1.0
"""Seconds after which a waiting thread looks again, woken or not."""


class Engine:
    """Computes requests together, whoever they come from: all public calls of a model go through one.

    There is no thread of its own unless `start` makes one: whoever waits for a stream drives, one thread at a
    time, and computes for all. Steps, samplers and the executor belong to the driver alone. `queue` is the
    most requests that may wait for their first step.

    >>> with Engine(program) as engine:                                  # doctest: +SKIP
    ...     stream = engine.submit(Request([1, 2, 3], sampler=Sampler(SamplingOptions.greedy())))
    ...     stream.result().tokens
    """

    _driver: object | None
    """The role of the driver: an object of whoever has it."""
    _stepping: int | None
    """The thread inside a step."""
    _background: Background | None
    _waiters: int
    _closing: bool
    _closed: bool
    _pid: int

    def __init__(self, program: Program, *, budget: Budget | None = None, queue: int = 1024) -> None:
        self.program = program
        self.budget = budget or Budget()
        self._queue = queue
        self._start_afresh()

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
        one prompt compute it once.
        """
        return self._submit(request, stream._channel)

    def step(self) -> bool:
        """Computes one step, in the calling thread. False if there is nothing to compute.

        Raises `ZigAIError` if another thread drives.
        """
        self._enter("step")
        me = object()
        try:
            with self._turn:
                if self._driver is None:
                    self._driver = me
            if self._driver is not me:
                raise ZigAIError("step: another thread is driving the engine; read a stream instead")
            return self._step()
        finally:
            if self._driver is me:  # without a call, after which Ctrl-C could come
                self._driver = None
            self._tell_waiting()

    def stats(self) -> EngineStats:
        """Returns counts and the present state. May be called from any thread."""
        return self._stepper.stats(self.commands.qsize(), self._submitted)

    def check(self) -> None:
        """Raises `AssertionError` unless all invariants hold. For tests; nobody may drive meanwhile."""
        self._enter("check")
        self._stepper.check()

    def start(self) -> None:
        """Starts a daemon thread that drives from now on; for asynchronous readers and servers.

        The thread does not keep the engine alive. It ends with `close`, with the engine, or at exit.
        """
        self._enter("start")
        if self._background is None:
            self._background = Background(self)

    def close(self) -> None:
        """Ends all requests with the reason `cancelled`, and frees the executor."""
        if self._closed:
            return
        if os.getpid() != self._pid:
            self._closed = True
            return
        self._enter("close")
        with self._turn:
            self._closing = True
        self._stop[0] = 1
        self.wake()
        if self._background is not None:
            self._background.join()
        me = object()
        try:
            with self._turn:
                while self._driver is not None:
                    self._waiters += 1
                    try:
                        self._turn.wait(RECHECK)
                    finally:
                        self._waiters -= 1
                self._driver = me
            self._stepper.step(self._drain_and_end)
            self._stepper.close()
            self._closed = True
        finally:
            if self._driver is me:
                self._driver = None
            self._after_step()
            self._tell_waiting()

    def wait(self, channel: Awaited) -> None:
        """Returns when a request has pieces or has ended; drives if nobody does. For `Stream`."""
        me = object()
        try:
            while not channel.settled:
                self._enter("reading a stream")
                if not self._take_turn(me, channel):
                    continue
                if not self._step() and not channel.settled:
                    raise ZigAIError(
                        "the engine can compute nothing, but a request has not ended; report this"
                    )
        finally:
            if self._driver is me:  # without a call, after which Ctrl-C could come
                self._driver = None
            self._tell_waiting()

    def cancel(self, channel: Channel) -> None:
        """Ends a request soon; takes no lock. For `Stream`."""
        self.commands.put((Stepper.cancel, channel))
        channel.cancelled = True  # either of the two is enough: an interrupt may come between them
        if self._stepper.alone is channel:
            self._stop[0] = 1

    def wake(self) -> None:
        """Wakes the background thread if it has nothing to do; takes no lock."""
        if self._background is not None:
            self.commands.put(None)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_afresh(self) -> None:
        """Makes everything that belongs to this process."""
        self._stop = np.zeros(1, np.int32)
        self._stepper = Stepper(self.program, self.budget, self._stop)
        self._turn = threading.Condition()
        self._driver = None
        self._waiters = 0
        self._stepping = None
        self.commands: SimpleQueue[Command] = SimpleQueue()
        self._backlog: deque[Command] = deque()
        self._queued = 0
        self._submitted = 0
        self._arrivals = count()
        self._background = None
        self._closing = self._closed = False
        self._pid = os.getpid()

    def _enter(self, call: str) -> None:
        """Raises by name for calls that are not possible now."""
        if os.getpid() != self._pid:
            self._start_afresh()
        if self._stepping == threading.get_ident():
            raise ZigAIError(
                f"{call}: not possible from inside a step of the same engine (from a sampler, a drafter, a "
                "stop string or a signal handler); do it after the step, or cancel() the stream"
            )
        if self._closed and call != "reading a stream":
            raise ZigAIError(f"{call}: the engine is closed")

    def _submit(self, request: Request, parent: Channel | None) -> Stream:
        self._enter("submit")
        prompt = self._fitting(request)
        if request.sampler is not None:
            request.sampler.start(prompt)
        channel = Channel()
        channel.usage.prompt_tokens = len(prompt)
        channel.usage.dropped_tokens = len(request.prompt) - len(prompt)
        groups = len(self._stepper.memory.groups)
        sequence = EngineSequence(request, channel, prompt, next(self._arrivals), groups)
        sequence.waits_for = parent
        with self._turn:
            if self._closing:
                raise ZigAIError("submit: the engine is closed")
            if self._queued >= self._queue:
                raise QueueFullError(
                    f"{self._queued} requests are waiting already, and the queue holds {self._queue}; try "
                    "again later, or make an engine with a longer queue"
                )
            self._queued += 1
            self._submitted += 1
            self.commands.put((Stepper.add, sequence))
        return Stream(self, request, channel)

    def _fitting(self, request: Request) -> Sequence[int]:
        """Returns the prompt, shifted if it must and may be. Raises if the request can never be computed."""
        graph, prompt = self.program.graph, request.prompt
        if request.outputs is not None:
            graph.output(request.outputs)
        if request.generates:
            graph.output("logits")
            if graph.whole_sequences:
                raise UnsupportedError("this model is an encoder: it cannot generate text; ask for outputs")
        limit = graph.token_limit
        wrong = next((token for token in prompt if not 0 <= token < limit), None)
        if wrong is not None:
            raise TokenizerError(f"token {wrong} is outside the model's vocabulary of {limit}")
        most = self.context - request.generates
        if len(prompt) > most and request.overflow == "shift":
            prompt = list(prompt)
            while len(prompt) > most:
                prompt = shifted(request.shift or drop_middle(1), prompt)
        if len(prompt) > most:
            if self.context == self.program.options.context:
                limit_of, remedy = "the context", "load the model with a larger context"
            elif graph.whole_sequences:
                limit_of = "a step, which must hold all tokens of an encoder's sequence,"
                remedy = "compile the program with a larger batch"
            else:
                limit_of, remedy = "the budget", "load the model with a larger budget"
            remedies = ["give a shorter prompt", remedy]
            if request.generates and most > 0:
                remedies.append("choose the overflow policy shift")
            raise ContextOverflowError(
                f"{'no room for a reply' if request.generates else 'no room'}: the prompt has {len(prompt)} "
                f"tokens, and {limit_of} holds {self.context}; {', '.join(remedies[:-1])}, or {remedies[-1]}"
            )
        return prompt

    def _take_turn(self, me: object, channel: Awaited) -> bool:
        """True if the caller is the driver; else waits until something has changed."""
        if self._driver is me and not self._closing:
            return True
        with self._turn:
            if self._driver is me:  # closing
                self._driver = None
                self._turn.notify_all()
            if self._driver is None and not self._closing:
                self._driver = me
                return True
            self._waiters += 1
            try:
                driven = self._driver is not None or not self._closed
                if driven and not channel.settled:
                    self._turn.wait(RECHECK)
            finally:
                self._waiters -= 1
        return False

    def drive(self, me: object) -> bool:
        """Computes a step of the background thread, which keeps the role."""
        with self._turn:
            while self._driver is not me:
                if self._driver is None:
                    self._driver = me
                else:
                    self._waiters += 1
                    try:
                        self._turn.wait(RECHECK)
                    finally:
                        self._waiters -= 1
        return self._step()

    def give_up(self, me: object) -> None:
        """Ends the role of the background thread."""
        if self._driver is me:
            self._driver = None
        self._tell_waiting()

    def put_back(self, command: Command) -> None:
        """Gives a command, which the background thread has taken, to the next step."""
        self._backlog.append(command)

    def interrupt(self) -> None:
        """Ends a running step soon; takes no lock."""
        self._stop[0] = 1

    @property
    def holds_requests(self) -> bool:
        """True while there are requests that have not ended."""
        return bool(self._stepper.sequences)

    def _tell_waiting(self) -> None:
        if self._waiters:
            with self._turn:
                self._turn.notify_all()

    def _step(self) -> bool:
        """Computes a step; the caller is the driver."""
        self._stepping = threading.get_ident()
        try:
            return self._stepper.step(self._drain)
        finally:
            self._stepping = None
            self._after_step()

    def _drain(self) -> None:
        """Carries out what was submitted and cancelled."""
        while self._backlog or not self.commands.empty():
            command = self._backlog.popleft() if self._backlog else self.commands.get()
            if command is not None:
                command[0](self._stepper, command[1])

    def _drain_and_end(self) -> None:
        self._drain()
        for sequence in list(self._stepper.sequences.values()):
            self._stepper.end(sequence, "cancelled")

    def _after_step(self) -> None:
        """Tells those who wait what has come."""
        stepper = self._stepper
        touched, stepper.touched = stepper.touched, []
        if stepper.left_queue:
            with self._turn:
                self._queued -= stepper.left_queue
                stepper.left_queue = 0
        if touched:
            self._tell_waiting()
        for channel in touched:
            if channel.ready is not None:
                self._call(channel)

    def _call(self, channel: Channel) -> None:
        assert channel.ready is not None
        try:
            channel.ready()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit would end the thread that computes for all
            channel.ready = None
            self.commands.put((partial(Stepper.cancel, error=error), channel))
