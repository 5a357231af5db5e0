"""Runs prompts and decoding steps of a model on given token ids, to measure how fast they are."""

from __future__ import annotations

from collections.abc import Sequence

from zigai_core.api.model import Model
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.plugins import OperationTime, ProfilingContext
from zigai_core.engine.cache import CachedSequence
from zigai_core.engine.runner import Part, Runner


class Throughput:
    """Memory for `sequences` sequences of a model, each filled to `depth` tokens before it decodes.

    Times are the caller's to take: each method returns when its work is done. `Cancelled` is raised out of
    them after `cancel`.
    """

    def __init__(self, model: Model, sequences: int = 1) -> None:
        self.sequences = sequences
        self._backend = model.backend
        self._runner = Runner(model.program, sequences)
        self._filled: list[CachedSequence] = []
        self._depth = 0

    def prefill(self, tokens: Sequence[int]) -> None:
        """Compute a prompt in a sequence of its own, and forget it."""
        sequence = self._runner.pool.new_sequence()
        self._runner.run([Part(sequence, tokens)])
        sequence.truncate(0)

    def fill(self, tokens: Sequence[Sequence[int]]) -> None:
        """Fill the decoding sequences, each with its tokens: all of the same number, or none."""
        self.free()
        self._depth = len(tokens[0])
        for given in tokens:
            sequence = self._runner.pool.new_sequence()
            if given:
                self._runner.run([Part(sequence, given)])
            self._filled.append(sequence)

    def decode(self, steps: Sequence[Sequence[int]]) -> None:
        """Compute steps of one token of each filled sequence: `[steps][sequences]` ids."""
        for step in steps:
            pairs = zip(self._filled, step, strict=True)
            self._runner.run([Part(sequence, [token]) for sequence, token in pairs])

    def rewind(self) -> None:
        """Bring the filled sequences back to the tokens that they were filled with."""
        for sequence in self._filled:
            sequence.truncate(self._depth)

    def free(self) -> None:
        """Give back the pages of the filled sequences."""
        for sequence in self._filled:
            sequence.free()
        self._filled.clear()

    def start_profile(self) -> None:
        """Count the time of each operation from now on. `UnsupportedError` if the backend cannot."""
        self._profiling().start_profile()

    def profile(self) -> Sequence[OperationTime]:
        """The times since `start_profile`, in the order in which operations run."""
        return self._profiling().profile()

    def cancel(self) -> None:
        """From any thread: the running call ends soon with `Cancelled`, and so do later ones."""
        self._runner.context.cancel()

    def _profiling(self) -> ProfilingContext:
        context = self._runner.context
        if not isinstance(context, ProfilingContext):
            raise UnsupportedError(f"the backend {self._backend} cannot tell where its time goes")
        return context
