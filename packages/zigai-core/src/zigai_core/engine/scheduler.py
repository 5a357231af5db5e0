"""Decides which sequences a step computes, and how many tokens of each."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass

from zigai_core.engine.memory import Memory, StepPart
from zigai_core.engine.sequence import Sequence
from zigai_core.engine.step_cost import LEAST, StepCost


@dataclass(frozen=True)
class Limits:
    """The most that a step, and an engine, may hold."""

    rows: int
    """Rows in a step."""
    output_rows: int
    """Output rows in a step."""
    sequences: int
    """Sequences that hold pages."""
    whole: bool
    """True if all tokens of a sequence must be in one step."""


class Scheduler:
    """One budget of rows a step: sequences with one token left first, then chunks of prompts, by rank.

    When pages run out, the sequence of the last rank gives up its pages and waits to be computed again; one
    whose reader is behind goes before all others. A sequence is admitted when there is room for all its
    tokens, so that those running are rarely preempted for it.
    """

    def __init__(
        self,
        memory: Memory,
        limits: Limits,
        propose: Callable[[Sequence, int], int | None],
        failed: Callable[[Sequence, Exception], None],
    ) -> None:
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.cost = StepCost()
        self.preemptions = 0
        self.prefill_rows = 0
        """Rows of prompts in the last step that was planned."""
        self.admitted: list[Sequence] = []
        """Sequences that the last plan has admitted."""
        self._memory = memory
        self._limits = limits
        self._propose = propose
        self._failed = failed
        self._parts: dict[Sequence, StepPart] = {}

    def add(self, sequence: Sequence) -> None:
        """Adds a sequence that waits."""
        insort(self.waiting, sequence, key=_rank)

    def remove(self, sequence: Sequence) -> None:
        """Takes a sequence out, and its pages from it."""
        if sequence.running:
            self._memory.release(sequence)
            self.running.remove(sequence)
            sequence.running = False
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def preempt(self, sequence: Sequence) -> None:
        """Takes the pages from a running sequence, which then waits to be computed again."""
        part = self._parts.pop(sequence, None)
        if part is not None:
            self._memory.undo(part)
        self.remove(sequence)
        self.add(sequence)
        self.preemptions += 1
        sequence.channel.usage.preemptions += 1

    def plan(self) -> list[StepPart]:
        """Returns the parts of the next step; none if no sequence can be computed."""
        parts: dict[Sequence, StepPart] = {}
        self._parts = parts
        self.admitted = []
        ready = [sequence for sequence in self.running if not sequence.channel.ahead]
        left = Room(self._limits.rows, self._limits.output_rows)
        prompts: list[Sequence] = []
        decoding: list[Sequence] = []
        for sequence in ready:
            (decoding if sequence.length - sequence.computed == 1 else prompts).append(sequence)
        kept = LEAST if prompts or self.waiting else 0  # rows that draft tokens leave to prompts
        for place, sequence in enumerate(decoding):
            if left.rows and left.outputs and sequence.running:
                self._decode(sequence, left, len(decoding) - place - 1 + kept)
        if parts:
            left.rows = self.cost.chunk(left.rows)
        for sequence in prompts:
            if sequence.running:
                self._prefill(sequence, left)
        self._admit(left)
        self.prefill_rows = sum(part.count for part in parts.values() if part.count - part.drafts > 1)
        return list(parts.values())

    def _decode(self, sequence: Sequence, left: Room, others: int) -> None:
        """Plans the next token of a sequence, and draft tokens if the step has room beside `others`."""
        drafts = 0
        most = min(left.rows, left.outputs) - 1 - others
        if sequence.request.drafter is not None and most > 0:
            proposed = self._propose(sequence, most)
            if proposed is None:
                return
            drafts = proposed
        while (part := self._memory.reserve(sequence, 1 + drafts, drafts)) is None:
            if drafts:
                drafts = 0
            elif not self._make_room(sequence):
                return
        part.outputs = min(part.count, sequence.length + drafts - sequence.first_output)
        self._put(part, left)

    def _prefill(self, sequence: Sequence, left: Room) -> None:
        count = wanted = sequence.length - sequence.computed
        first = max(0, sequence.first_output - sequence.computed)  # the first row with an output
        count = min(count, left.rows, first + left.outputs)
        if count < (wanted if self._limits.whole else 1):
            return
        while (fits := min(count, self._memory.fits(sequence))) < 1 or (
            part := self._memory.reserve(sequence, fits, 0)
        ) is None:
            if not self._make_room(sequence):
                return
        part.outputs = max(0, fits - first)
        self._put(part, left)

    def _put(self, part: StepPart, left: Room) -> None:
        self._parts[part.sequence] = part
        left.rows -= part.count
        left.outputs -= part.outputs

    def _admit(self, left: Room) -> None:
        for sequence in list(self.waiting):
            if left.rows < 1:
                return
            parent = sequence.waits_for
            if (parent is not None and not parent.prompt_done) or sequence.channel.ahead:
                continue
            if self._limits.whole and (
                sequence.length > left.rows or sequence.length - sequence.first_output > left.outputs
            ):
                return
            while len(self.running) >= self._limits.sequences:
                if not self._make_room(sequence):
                    return
            limit = min(sequence.length - 1, sequence.first_output)
            try:
                while not self._memory.adopt(sequence, limit, self._headroom()):
                    if not self._make_room(sequence):
                        return
            except Exception as error:  # of the executor's copy
                self._failed(sequence, error)
                continue
            self.waiting.remove(sequence)
            sequence.running = True
            insort(self.running, sequence, key=_rank)
            self.admitted.append(sequence)
            self._prefill(sequence, left)

    def _headroom(self) -> int:
        """A page for each running sequence, which is going to need it soon."""
        return sum(not sequence.channel.ahead for sequence in self.running)

    def _make_room(self, sequence: Sequence) -> bool:
        """Preempts another sequence for this one, or this one. False if it cannot be computed now."""
        paused = [each for each in self.running if each.channel.ahead]
        victim = (paused or self.running or [sequence])[-1]
        if victim is sequence or (not paused and victim.rank < sequence.rank):
            victim = sequence
        if not sequence.running and (victim is sequence or not self._goes_before(sequence, victim)):
            return False
        self.preempt(victim)
        return victim is not sequence

    def _goes_before(self, sequence: Sequence, victim: Sequence) -> bool:
        """True if a waiting sequence may take the place of a running one."""
        return victim.channel.ahead or sequence.request.priority > victim.request.priority


class Room:
    """What is left of a step's limits."""

    __slots__ = ("outputs", "rows")

    def __init__(self, rows: int, outputs: int) -> None:
        self.rows = rows
        self.outputs = outputs


def _rank(sequence: Sequence) -> tuple[int, int]:
    return sequence.rank
