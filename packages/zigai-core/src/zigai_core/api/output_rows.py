"""Outputs of a program for the tokens of one sequence, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from zigai_core.contracts.errors import ContextOverflowError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.plugins import Program
from zigai_core.engine.direct import DirectRunner, Part

ROWS = 32
"""Rows of outputs in memory at a time: 32 rows of logits of 152,000 tokens are 19 MB."""


class OutputRows:
    """Computes the outputs of a program for one sequence of tokens after another. Not thread-safe.

    `rows` is the most rows that are in memory at a time.

    >>> rows = OutputRows(model.program)                                     # doctest: +SKIP
    >>> [step["logits"].shape for step in rows.of([1, 306, 414, 383])]      # doctest: +SKIP
    [(4, 32000)]
    """

    def __init__(self, program: Program, rows: int = ROWS) -> None:
        self.program = program
        self._most = rows
        self._runner = DirectRunner(program)
        self._sequence = self._runner.new_sequence()

    def of(self, tokens: Sequence[int], first: int = 0) -> Iterator[Mapping[str, Array]]:
        """Yields the outputs of `tokens[first:]` in order, by name: float32 `[rows, width]`.

        There are at most `rows` rows at a time, except in an encoder, which computes all tokens in one step.

        Raises `ContextOverflowError` if there are more tokens than the context has room for.
        """
        context = self.program.options.context
        if len(tokens) > context:
            raise ContextOverflowError(f"{len(tokens)} tokens do not fit into a context of {context}")
        sequence = self._sequence
        sequence.truncate(0)
        if self.program.graph.whole_sequences:
            (outputs,) = self._runner.run([Part(sequence, tokens, want_all=True)])
            yield {name: rows[first:] for name, rows in outputs.items()}
            return
        if first:
            self._runner.run([Part(sequence, tokens[:first])])
        for start in range(first, len(tokens), self._most):
            yield self._runner.run([Part(sequence, tokens[start : start + self._most], want_all=True)])[0]
