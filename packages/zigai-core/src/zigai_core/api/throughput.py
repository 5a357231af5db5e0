"""Runs prefill and decode steps of a model on given token ids, so that a caller can time them."""

from __future__ import annotations

from collections.abc import Sequence

from zigai_core.api.model import Model
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.plugins import OperationTime, ProfilingContext
from zigai_core.engine.cache import CachedSequence
from zigai_core.engine.runner import Part, Runner


class Throughput:
    """A runner with memory for `sequences` sequences, whose steps a caller can time.

    Each method returns when its work is done, and raises `Cancelled` after `cancel`.
    """

    def __init__(self, model: Model, sequences: int = 1) -> None:
        self.sequences = sequences
        self._backend = model.backend
        self._runner = Runner(model.program, sequences)
        self._filled: list[CachedSequence] = []
        self._depth = 0

    def prefill(self, tokens: Sequence[int]) -> None:
        """Compute a prompt in a new sequence, and drop that sequence."""
        sequence = self._runner.pool.new_sequence()
        self._runner.run([Part(sequence, tokens)])
        sequence.truncate(0)

    def fill(self, tokens: Sequence[Sequence[int]]) -> None:
        """Replace the sequences by new ones, filled with `tokens` `[sequences][depth]`; depth may be 0."""
        self.free()
        self._depth = len(tokens[0])
        for given in tokens:
            sequence = self._runner.pool.new_sequence()
            if given:
                self._runner.run([Part(sequence, given)])
            self._filled.append(sequence)

    def decode(self, steps: Sequence[Sequence[int]]) -> None:
        """Compute steps of one token for each filled sequence. `steps`: ids `[steps][sequences]`."""
        for step in steps:
            pairs = zip(self._filled, step, strict=True)
            self._runner.run([Part(sequence, [token]) for sequence, token in pairs])

    def rewind(self) -> None:
        """Truncate the filled sequences to the tokens of `fill`."""
        for sequence in self._filled:
            sequence.truncate(self._depth)

    def free(self) -> None:
        """Free the filled sequences and their pages."""
        for sequence in self._filled:
            sequence.free()
        self._filled.clear()

    def start_profile(self) -> None:
        """Start to measure the time of each operation. Raises `UnsupportedError` if the backend cannot."""
        self._profiling().start_profile()

    def profile(self) -> Sequence[OperationTime]:
        """The times since `start_profile`, in the order in which operations run; raises as it does."""
        return self._profiling().profile()

    def cancel(self) -> None:
        """End the running call and all later ones with `Cancelled`. May be called from any thread."""
        self._runner.context.cancel()

    def _profiling(self) -> ProfilingContext:
        context = self._runner.context
        if not isinstance(context, ProfilingContext):
            raise UnsupportedError(f"the backend {self._backend} cannot measure the time of operations")
        return context
