"""Puts tokens of sequences through a context: batches of the planned size, and the pages they need."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.batch import Batch
from zigai_core.contracts.graph import Array
from zigai_core.contracts.plugins import Program
from zigai_core.engine.cache import CachedSequence, PagePool


@dataclass(frozen=True, eq=False)
class Part:
    """New tokens of one sequence, at least one; outputs are wanted for all of them or for the last."""

    sequence: CachedSequence
    tokens: Sequence[int]
    want_all: bool = False


class Runner:
    """One context and its page pool. Several sequences may live in it; calls wait for each other.

    A part's tokens follow what its sequence holds. When a step fails or is cancelled, the sequences hold
    what the steps before it have put there, and nothing of it.
    """

    def __init__(self, program: Program, sequences: int = 1) -> None:
        self.program = program
        self.context = program.new_context(sequences)
        self.pool = PagePool(self.context.pages, program.options.page)
        self._lock = threading.Lock()

    def run(self, parts: Sequence[Part]) -> list[Mapping[str, Array]]:
        """The graph's outputs for each part: `[1, width]`, or `[len(tokens), width]` where all are wanted."""
        gathered: list[dict[str, list[Array]]] = [{} for _ in parts]
        with self._lock:
            for pieces in _steps(parts, self.program.options.batch):
                outputs = self._step(parts, pieces)
                start = 0
                for piece in pieces:
                    end = start + len(_wanted(parts[piece.part], piece))
                    for name, rows in outputs.items():
                        gathered[piece.part].setdefault(name, []).append(rows[start:end])
                    start = end
        return [
            {name: rows[0] if len(rows) == 1 else np.concatenate(rows) for name, rows in part.items()}
            for part in gathered
        ]

    def _step(self, parts: Sequence[Part], pieces: Sequence[_Piece]) -> Mapping[str, Array]:
        tokens: list[int] = []
        positions: list[int] = []
        sequences: list[int] = []
        wanted: list[int] = []
        for index, piece in enumerate(pieces):
            part = parts[piece.part]
            count = piece.end - piece.start
            self.context.copy_pages(part.sequence.reserve(count))
            wanted.extend(len(tokens) + row for row in _wanted(part, piece))
            tokens.extend(part.tokens[piece.start : piece.end])
            positions.extend(range(part.sequence.length, part.sequence.length + count))
            sequences.extend([index] * count)
        batch = Batch(
            tokens=np.array(tokens, dtype=np.int32),
            positions=np.array(positions, dtype=np.int32),
            sequences=np.array(sequences, dtype=np.int32),
            wanted=np.array(wanted, dtype=np.int32),
            page_tables=[parts[piece.part].sequence.page_table for piece in pieces],
        )
        outputs = self.context.run(batch)
        for piece in pieces:
            parts[piece.part].sequence.commit(piece.end - piece.start)
        return outputs


@dataclass(frozen=True)
class _Piece:
    """Tokens `start..end` of one part, as they stand in one step."""

    part: int
    start: int
    end: int


def _steps(parts: Sequence[Part], size: int) -> Iterator[list[_Piece]]:
    """Cut the parts into steps of at most `size` tokens, in order."""
    step: list[_Piece] = []
    room = size
    for index, part in enumerate(parts):
        start = 0
        while start < len(part.tokens):
            end = min(len(part.tokens), start + room)
            step.append(_Piece(index, start, end))
            room -= end - start
            start = end
            if not room:
                yield step
                step, room = [], size
    if step:
        yield step


def _wanted(part: Part, piece: _Piece) -> range:
    """The piece's own rows whose outputs are wanted."""
    count = piece.end - piece.start
    if part.want_all:
        return range(count)
    return range(count - 1, count) if piece.end == len(part.tokens) else range(0)
