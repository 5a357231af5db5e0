"""Puts the parts of a step together to a batch."""

from __future__ import annotations

from collections.abc import Sequence as Many

import numpy as np

from zigai_core.contracts.batch import Batch, Pages, Slots
from zigai_core.contracts.graph import Array
from zigai_core.contracts.plugins import Program
from zigai_core.engine.memory import StepPart


class BatchBuilder:
    """Makes batches in arrays that are used again: a batch is valid until the next one is built."""

    def __init__(self, program: Program) -> None:
        options = program.options
        rows = options.batch
        self._groups = program.graph.groups
        self._whole = program.graph.whole_sequences
        self._tokens = np.empty(rows, np.int32)
        self._sequences = np.empty(rows, np.int32)
        self._index = np.empty(rows, np.int32)
        self._outputs = np.empty(rows, np.int32)
        self._ends = np.empty(rows, np.int32)
        self._types = np.empty(rows, np.int32)
        self._counting = np.arange(options.context + 1, dtype=np.int32)

    def build(self, parts: Many[StepPart]) -> Batch:
        """Returns the batch of these parts, and notes in each where its rows and output rows are."""
        row = outputs = 0
        embeddings: list[Array] = []
        typed = any(part.sequence.types is not None for part in parts)
        for number, part in enumerate(parts):
            sequence, start, count = part.sequence, part.start, part.count
            part.row, part.first_output = row, outputs
            if count == 1:
                self._tokens[row] = sequence.buffer[start]
                self._index[row] = start
                self._sequences[row] = number
            else:
                end = row + count
                self._tokens[row:end] = sequence.buffer[start : start + count]
                self._index[row:end] = self._counting[start : start + count]
                self._sequences[row:end] = number
            if typed:
                types = sequence.types
                self._types[row : row + count] = 0 if types is None else types[start : start + count]
            given = sequence.embeddings_of(start, count)
            if given is not None:
                embeddings.append(given)
            if self._whole:
                self._ends[row : row + count] = start + count
            row += count
            if part.outputs == 1:
                self._outputs[outputs] = row - 1
            elif part.outputs:
                self._outputs[outputs : outputs + part.outputs] = self._counting[: part.outputs] + (
                    row - part.outputs
                )
            outputs += part.outputs
        return Batch(
            tokens=self._tokens[:row],
            sequences=self._sequences[:row],
            index=self._index[:row],
            output_rows=self._outputs[:outputs],
            groups=tuple(
                self._slots(parts, g) if group.recurrent else self._pages(parts, g)
                for g, group in enumerate(self._groups)
            ),
            ends=self._ends[:row] if self._whole else None,
            types=self._types[:row] if typed else None,
            embeddings=np.concatenate(embeddings) if embeddings else None,
        )

    def _pages(self, parts: Many[StepPart], group: int) -> Pages:
        return Pages([part.sequence.tables[group][: part.sequence.held] for part in parts])

    def _slots(self, parts: Many[StepPart], group: int) -> Slots:
        writes = [
            (part.row + row, slot) for part in parts for row, slot in sorted(part.writes[group].items())
        ]
        return Slots(
            np.array([part.sequence.slots[group] for part in parts], np.int32),
            np.array(writes, np.int32).reshape(-1, 2),
        )
