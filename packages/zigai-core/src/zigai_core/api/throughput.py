"""Runs prefill and decode steps of a model on given token ids, so that a caller can time them."""

from __future__ import annotations

from collections.abc import Sequence

from zigai_core.api.model import Model
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.plugins import OperationTime, ProfilingExecutor
from zigai_core.engine.direct import DirectRunner, DirectSequence, Part


class Throughput:
    """A runner with memory for `sequences` sequences, whose steps a caller can time.

    Each method returns when its work is done, and raises `Cancelled` after `cancel`.
    """

    def __init__(self, model: Model, sequences: int = 1) -> None:
        self.sequences = sequences
        self._backend = model.backend
        self._runner = DirectRunner(model.program, sequences)
        self._sequences: list[DirectSequence] = [self._runner.new_sequence() for _ in range(sequences)]
        self._depth = 0

    def prefill(self, tokens: Sequence[int]) -> None:
        """Compute a prompt in the first sequence, which is empty again afterwards."""
        self.rewind()
        first = self._sequences[0]
        first.truncate(0)
        self._runner.run([Part(first, tokens)])
        first.truncate(0)
        self._depth = 0

    def fill(self, tokens: Sequence[Sequence[int]]) -> None:
        """Replace the content of the sequences by `tokens` `[sequences][depth]`; depth may be 0."""
        self._depth = len(tokens[0])
        for sequence, given in zip(self._sequences, tokens, strict=True):
            sequence.truncate(0)
            if given:
                self._runner.run([Part(sequence, given)])

    def decode(self, steps: Sequence[Sequence[int]]) -> None:
        """Compute steps of one token for each sequence. `steps`: ids `[steps][sequences]`."""
        for step in steps:
            pairs = zip(self._sequences, step, strict=True)
            self._runner.run([Part(sequence, [token]) for sequence, token in pairs])

    def rewind(self) -> None:
        """Truncate the sequences to the tokens of `fill`."""
        for sequence in self._sequences:
            sequence.truncate(min(self._depth, sequence.length))

    def start_profile(self) -> None:
        """Start to measure the time of each operation. Raises `UnsupportedError` if the backend cannot."""
        self._profiling().start_profile()

    def profile(self) -> Sequence[OperationTime]:
        """The times since `start_profile`, in the order in which operations run; raises as it does."""
        return self._profiling().profile()

    def cancel(self) -> None:
        """End the running call and all later ones with `Cancelled`. May be called from any thread."""
        self._runner.cancel()

    def _profiling(self) -> ProfilingExecutor:
        executor = self._runner.executor
        if not isinstance(executor, ProfilingExecutor):
            raise UnsupportedError(f"the backend {self._backend} cannot measure the time of operations")
        return executor
