"""Computes steps: the part of an engine that belongs to its driver alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import Cancelled
from zigai_core.contracts.plugins import Outputs, Program
from zigai_core.engine.batches import BatchBuilder
from zigai_core.engine.deadlines import Deadlines
from zigai_core.engine.drawing import Drawer, Drawn, own_fault
from zigai_core.engine.memory import Memory, StepPart
from zigai_core.engine.request import DRAFT_PREFILL, Budget, ClosingDrafter, EngineStats, FinishReason, Piece
from zigai_core.engine.scheduler import Limits, Scheduler
from zigai_core.engine.sequence import Sequence
from zigai_core.engine.sizes import plan_sizes
from zigai_core.engine.stream import Channel

OUTPUT_BYTES = 128 << 20
"""Most bytes of an output in a step; at least `LEAST_OUTPUT_ROWS` rows in any case."""

LEAST_OUTPUT_ROWS = 16


class Stepper:
    """Sequences, their memory, the scheduler and the executor.

    A step plans, runs and commits. Until it commits, it changes nothing of a sequence but pages and slots
    that it reserved, which it gives back if `run` raises. If anything else raises in the middle, such as
    Ctrl-C in Python code, the next step begins with `recover`: no sequence has pages then, and all are
    computed again.
    """

    def __init__(self, program: Program, budget: Budget, stop: NDArray[np.int32]) -> None:
        options, graph = program.options, program.graph
        sizes, tokens = plan_sizes(program, budget)
        self.executor = program.new_executor(sizes)
        self.memory = Memory(program, self.executor)
        whole = graph.whole_sequences
        self.context = options.context
        """The most tokens of a sequence."""
        if self.memory.caches:
            self.context = min(self.context, tokens)
        if whole:
            self.context = min(self.context, options.batch)
        widest = max(value.width for value in graph.outputs.values())
        output_rows = options.batch
        if not whole:
            output_rows = min(output_rows, max(LEAST_OUTPUT_ROWS, OUTPUT_BYTES // (4 * widest)))
        most = min(budget.sequences, output_rows)  # so that each has an output row
        self._limits = Limits(options.batch, output_rows, most, whole)
        self.sequences: dict[Channel, Sequence] = {}
        """All that have not ended."""
        self.alone: Channel | None = None
        """The only request of the step that runs."""
        self.touched: list[Channel] = []
        """Requests that got pieces or an end in this step."""
        self.queued: dict[Channel, None] = {}
        """Requests that wait for their first step; `Inbox` adds them."""
        self.counts: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self.step_seconds = 0.0
        self.run_seconds = 0.0
        self._drawer = Drawer(self.context, graph.token_limit, self.counts)
        self.clock = time.monotonic
        """The clock of deadlines."""
        self._stop = stop
        self.closing = False
        """True if all requests are to be ended, and no step is to be run any more."""
        self._batches = BatchBuilder(program)
        self._deadlines = Deadlines()
        self._dirty = False
        self.scheduler = self._new_scheduler()

    def add(self, sequence: Sequence) -> None:
        """Adds a sequence that was submitted, unless it was added."""
        channel = sequence.channel
        if channel in self.sequences or channel.ended:
            return
        self._deadlines.add(sequence)
        self.sequences[channel] = sequence
        self.scheduler.add(sequence)

    def cancel(self, channel: Channel, error: BaseException | None = None) -> None:
        """Ends a request with the reason `cancelled`, or with an error."""
        sequence = self.sequences.get(channel)
        if sequence is not None:
            self.end(sequence, "cancelled", error)

    def step(self, drain: Callable[[], None] = lambda: None, *, compute: bool = True) -> bool:
        """Computes a step. False if there was nothing to compute. `drain` is called first.

        Without `compute`, nothing is done but to end requests that were cancelled or are too late.
        An exception of `run` ends the sequences of the step; one that comes from anywhere else, but for a
        request's own code, ends all. KeyboardInterrupt is raised.
        """
        began = time.perf_counter()
        try:
            if self._dirty:
                self.recover()
            self._dirty = True
            drain()
            self._end_cancelled()
            busy = self._step() if compute else False
            self._dirty = False
        except Exception as error:
            self.recover()
            self._dirty = True
            for sequence in list(self.sequences.values()):
                self.end(sequence, error=error)
            self._dirty = False
            busy = True
        finally:
            self.alone = None
            self.step_seconds += time.perf_counter() - began
        return busy

    def stats(self, submitted: int) -> EngineStats:
        """Returns the counts; `submitted` requests were there in all."""
        counts, scheduler = self.counts, self.scheduler
        preempted = sum(sequence.started > 0 for sequence in list(scheduler.waiting))
        return EngineStats(
            waiting=len(self.queued) + preempted,
            running=len(scheduler.running),
            groups=tuple(pool.stats() for pool in self.memory.pools),
            submitted=submitted,
            finished=dict(self.finished),
            steps=counts["steps"],
            failed_steps=counts["failed_steps"],
            computed_tokens=counts["computed_tokens"],
            cached_tokens=counts["cached_tokens"],
            generated_tokens=counts["generated_tokens"],
            preemptions=scheduler.preemptions,
            draft_proposed=counts["draft_proposed"],
            draft_accepted=counts["draft_accepted"],
            step_seconds=self.step_seconds,
            run_seconds=self.run_seconds,
        )

    def close(self) -> None:
        """Frees the executor; nothing can be computed any more. May be called again."""
        self.memory.close()
        vars(self).pop("executor", None)

    def recover(self) -> None:
        """Restores the invariants after a step that was interrupted: everything is computed again."""
        self._dirty = True
        self.memory.reset(self.sequences.values())
        old, self.scheduler = self.scheduler, self._new_scheduler()
        self.scheduler.cost = old.cost
        self.scheduler.preemptions = old.preemptions
        for sequence in list(self.sequences.values()):
            sequence.running = False
            if sequence.channel.ended:
                del self.sequences[sequence.channel]
                continue
            if sequence.replacement is not None:
                sequence.replace()
            try:
                sequence.rewind()
                if sequence.ending is None and sequence.reason is None:
                    self.scheduler.add(sequence)
                else:
                    self.end(sequence, sequence.reason)
            except Exception as error:
                self.end(sequence, error=error)
        self._dirty = False

    def check(self) -> None:
        """Raises `AssertionError` unless pools, prefix index, scheduler and sequences agree."""
        if self._dirty:
            self.recover()
        scheduler = self.scheduler
        scheduled = [*scheduler.running, *scheduler.waiting]
        assert sorted(map(id, scheduled)) == sorted(map(id, self.sequences.values())), "a sequence is lost"
        assert all(each.running for each in scheduler.running), "a running sequence does not know it"
        assert not any(each.running or each.held or each.computed for each in scheduler.waiting)
        for queue in (scheduler.running, scheduler.waiting):
            assert queue == sorted(queue, key=lambda each: each.rank), "sequences are out of order"
        fresh = {each.channel for each in self.sequences.values() if not each.started}
        assert fresh <= self.queued.keys(), "a request that waits is not in the queue"
        self._deadlines.check(self.sequences)
        self.memory.check(scheduler.running)

    def end(
        self, sequence: Sequence, reason: FinishReason | None = None, error: BaseException | None = None
    ) -> None:
        """Ends a request: with a reason, or with an error that its stream raises.

        If an interrupt comes in the middle, `recover` goes on with it.
        """
        channel, request = sequence.channel, sequence.request
        if sequence.ending is None:
            rest = ""
            if error is None and request.text is not None:
                try:
                    rest = request.text.finish()
                except BaseException as fault:
                    error = own_fault(fault)
            if request.drafter is not None and isinstance(request.drafter, ClosingDrafter):
                try:
                    request.drafter.close()
                except BaseException as fault:
                    error = error or own_fault(fault)
            sequence.rest = rest
            sequence.ending = (None if error is not None else reason, error)
        reason, error = sequence.ending
        if not channel.prompt_done:
            self._pass_on_prompt(channel)
        if sequence.started and not sequence.first:
            channel.usage.prefill_seconds = time.perf_counter() - sequence.started
        self.scheduler.remove(sequence)
        self.queued.pop(channel, None)
        self.touched.append(channel)
        if sequence.rest:
            text, give, piece = channel.text + sequence.rest, channel.pieces.append, Piece((), sequence.rest)
            channel.text = text
            sequence.rest = ""
            give(piece)
        all_outputs = sequence.outputs if sequence.collected == sequence.wanted else None
        ended = "error" if error is not None else str(reason)
        finished = self.finished[ended] + 1
        # From here on no call, after which an interrupt could come.
        channel.outputs = all_outputs
        channel.reason = reason
        channel.error = error
        channel.prompt_done = True
        self.finished[ended] = finished
        channel.ended = True
        del self.sequences[channel]
        self._deadlines.tidy(self.sequences)

    def _pass_on_prompt(self, channel: Channel) -> None:
        """Lets one of the requests that wait for a prompt compute it, and the others wait for that one."""
        first_waiting: Channel | None = None
        for sequence in self.scheduler.waiting:
            if sequence.waits_for is channel:
                sequence.waits_for = first_waiting
                first_waiting = first_waiting or sequence.channel

    def _new_scheduler(self) -> Scheduler:
        return Scheduler(self.memory, self._limits, self._propose, self._fail)

    def _propose(self, sequence: Sequence, most: int) -> int | None:
        """Returns the number of draft tokens; None if an exception of the drafter has ended the request."""
        try:
            return self._drawer.propose(sequence, most)
        except BaseException as error:
            self.end(sequence, error=own_fault(error))
            return None

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        self.end(sequence, error=error)

    def _note_admitted(self) -> None:
        for sequence in self.scheduler.admitted:
            self.counts["cached_tokens"] += sequence.computed
            if not sequence.started:
                sequence.started = time.perf_counter()
                self.queued.pop(sequence.channel, None)
                sequence.channel.usage.cached_tokens = sequence.computed

    def _end_cancelled(self) -> None:
        """Ends what was cancelled, and what is too late."""
        for sequence in [
            each for each in self.sequences.values() if each.channel.cancelled or each.channel.closed
        ]:
            self.end(sequence, "cancelled")
        now = self.clock() if len(self._deadlines) else 0.0
        while (late := self._deadlines.passed(now, self.sequences)) is not None:
            self.end(late, "deadline")

    def _step(self) -> bool:
        self._drawer.draft_prefill = DRAFT_PREFILL
        parts = self.scheduler.plan()
        if not parts:
            return bool(self.touched)
        self._note_admitted()
        batch = self._batches.build(parts)
        self._stop[0] = 0
        self.alone = parts[0].sequence.channel if len(parts) == 1 else None
        began = time.perf_counter()
        try:
            if self.closing or (self.alone is not None and self.alone.cancelled):
                raise Cancelled("the step was cancelled before it began")
            outputs = self.executor.run(batch, self._stop)
        except BaseException as error:
            for part in reversed(parts):
                self.memory.undo(part)
            self.counts["failed_steps"] += 1
            if isinstance(error, KeyboardInterrupt):
                self._dirty = False
                raise
            if isinstance(error, Cancelled) and (
                self._stop[0] or self.closing or (self.alone and self.alone.cancelled)
            ):
                return True
            for part in parts:
                self.end(part.sequence, error=error)
            return True
        ran = time.perf_counter() - began
        self.alone = None
        self.run_seconds += ran
        self.counts["steps"] += 1
        self.counts["computed_tokens"] += len(batch)
        prefill = self.scheduler.prefill_rows
        self.scheduler.cost.update(len(batch) - prefill, prefill, ran)
        for part in parts:
            self._commit(part, outputs)
        return True

    def _commit(self, part: StepPart, outputs: Outputs) -> None:
        """Takes the results of a part: its rows count as computed, outputs are collected, tokens drawn."""
        sequence, channel = part.sequence, part.sequence.channel
        fault: BaseException | None = None
        drawn, rows, wanted = Drawn(), part.outputs, sequence.wanted
        if rows:
            try:
                if sequence.collected < wanted:
                    assert sequence.request.outputs is not None
                    values, first = outputs.rows(sequence.request.outputs), part.first_output
                    rows -= sequence.collect(values[first : first + rows])
                if rows and sequence.samples:
                    drawn = self._drawer.draw(part, outputs, rows)
            except BaseException as error:
                fault = own_fault(error)
            self.touched.append(channel)
        self.memory.commit(part, drawn.accepted)
        if not channel.prompt_done and channel.usage.note_prefill(sequence.computed):
            channel.prompt_done = True
            self.memory.list_inside(sequence)
        reason = drawn.reason
        if not sequence.samples and sequence.collected == wanted:
            reason = "length"
        if fault is not None or reason is not None:
            self.end(sequence, reason, fault)
        elif sequence.replacement is not None:
            self.scheduler.remove(sequence)
            sequence.replace()
            self.scheduler.add(sequence)
