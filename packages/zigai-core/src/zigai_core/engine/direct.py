"""Runs sequences on an executor without an engine: for draft models, benchmarks and test kits.

Each sequence owns as many pages as it can ever need, so nothing is shared, found by prefix or preempted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import IN_PLACE, Batch, Ints, Pages, Slots
from zigai_core.contracts.errors import ContextOverflowError, ShapeError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.plugins import Program


@dataclass(eq=False)
class DirectSequence:
    """A sequence of a `DirectRunner`: its place among the runner's sequences, and its length in tokens."""

    place: int
    length: int = 0
    slot: int = 0
    """Which of the two slots of recurrent groups holds the state."""

    def truncate(self, length: int) -> None:
        """Forgets all tokens from index `length` on. Recurrent state can only be truncated to nothing."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate a sequence of {self.length} tokens to {length}")
        self.length = length


@dataclass(frozen=True, eq=False)
class Part:
    """New tokens of one sequence, at least one; outputs are wanted for all of them or for the last.

    `types` is the type of each (`Batch.types`); None: all are 0. `embeddings` are the rows in place of the
    tokens -1, float32 `[n, width]` (`Batch.embeddings`); None: there are no such tokens.
    """

    sequence: DirectSequence
    tokens: Sequence[int]
    want_all: bool = False
    types: Sequence[int] | None = None
    embeddings: Array | None = None


class DirectRunner:
    """An executor with memory for `sequences` sequences of maximum length. Not thread-safe.

    Memory is used as it is written. `cancel` may be called from any thread: the running call and later ones
    end with `Cancelled`, until `resume`. After an exception, sequences hold what earlier steps computed.
    """

    def __init__(self, program: Program, sequences: int = 1) -> None:
        self.program = program
        self.sequences = sequences
        groups = program.graph.groups
        pages = program.options.pages
        self.executor = program.new_executor(
            [2 * sequences if group.recurrent else sequences * pages for group in groups]
        )
        self._stop = np.zeros(1, np.int32)
        self._used = 0

    def new_sequence(self) -> DirectSequence:
        """Returns an empty sequence. Raises `ContextOverflowError` if all places are taken."""
        if self._used == self.sequences:
            raise ContextOverflowError(f"there is memory for {self.sequences} sequences, and all are in use")
        self._used += 1
        return DirectSequence(self._used - 1)

    def fork(self, sequence: DirectSequence) -> DirectSequence:
        """Returns a second sequence with the same tokens, whose state is copied."""
        twin = self.new_sequence()
        twin.length = sequence.length
        pages = self.program.options.pages
        held = -(-sequence.length // self.program.options.page)
        for number, group in enumerate(self.program.graph.groups):
            if group.recurrent:
                pairs = [(2 * sequence.place + sequence.slot, 2 * twin.place)]
            else:
                pairs = [(sequence.place * pages + i, twin.place * pages + i) for i in range(held)]
            self.executor.copy(number, pairs)
        return twin

    def cancel(self) -> None:
        """Ends the running call and all later ones with `Cancelled`, until `resume`. From any thread."""
        self._stop[0] = 1

    def resume(self) -> None:
        """Allows calls to run again. From any thread."""
        self._stop[0] = 0

    def run(self, parts: Sequence[Part]) -> list[Mapping[str, Array]]:
        """Returns the outputs of each part: `[1, width]`, or `[len(tokens), width]` if all are wanted.

        Raises `ValueError` if a sequence is given twice.
        """
        if len({id(part.sequence) for part in parts}) < len(parts):
            raise ValueError("a sequence is given twice in one call: join its tokens")
        gathered: list[dict[str, list[Array]]] = [{} for _ in parts]
        graph, most = self.program.graph, self.program.options.batch
        whole = graph.whole_sequences
        if any(part.types is not None and len(part.types) != len(part.tokens) for part in parts):
            raise ShapeError("a part has types, but not one for each of its tokens")
        if any(
            part.embeddings is not None and len(part.embeddings) != _replaced(part.tokens) for part in parts
        ):
            raise ShapeError("a part has embeddings, but not one for each of its tokens -1")
        if whole and any(len(part.tokens) > most or part.sequence.length for part in parts):
            raise ShapeError(
                "the model is an encoder, which computes each text whole, in one step: nothing can follow "
                f"tokens that were computed, and a text has at most {most} tokens in this program"
            )
        for pieces in _steps(parts, most, whole=whole):
            for name, rows in self._step(pieces).items():
                start = 0
                for piece in pieces:
                    end = start + len(piece.wanted)
                    gathered[piece.part].setdefault(name, []).append(rows[start:end])
                    start = end
        return [
            {name: rows[0] if len(rows) == 1 else np.concatenate(rows) for name, rows in part.items()}
            for part in gathered
        ]

    def _step(self, pieces: Sequence[_Piece]) -> Mapping[str, Array]:
        whole = self.program.graph.whole_sequences
        counts = [len(piece.tokens) for piece in pieces]
        starts = np.cumsum(np.array([0, *counts[:-1]], np.int64))
        batch = Batch(
            tokens=np.concatenate([np.array(piece.tokens, np.int32) for piece in pieces]),
            sequences=np.repeat(np.arange(len(pieces), dtype=np.int32), counts),
            index=np.concatenate(
                [_range(piece.sequence.length, count) for piece, count in zip(pieces, counts, strict=True)]
            ),
            output_rows=np.concatenate(
                [start + piece.wanted for piece, start in zip(pieces, starts, strict=True)]
            ).astype(np.int32),
            groups=self._groups(
                [piece.sequence for piece in pieces], starts + np.array(counts, np.int64) - 1
            ),
            ends=np.repeat(np.array(counts, np.int32), counts) if whole else None,
            types=_types(pieces),
            embeddings=_embeddings(pieces),
        )
        outputs = self.executor.run(batch, self._stop)
        for piece, count in zip(pieces, counts, strict=True):
            piece.sequence.length += count
            piece.sequence.slot ^= 1
        return {name: outputs.rows(name).copy() for name in self.program.graph.outputs}

    def _groups(
        self, sequences: Sequence[DirectSequence], last_rows: NDArray[np.int64]
    ) -> tuple[Pages | Slots, ...]:
        pages = self.program.options.pages
        tables = Pages([_range(sequence.place * pages, pages) for sequence in sequences])
        own = [2 * sequence.place + sequence.slot for sequence in sequences]
        reads = [slot if sequence.length else -1 for slot, sequence in zip(own, sequences, strict=True)]
        writes = np.stack([last_rows, np.array(own) ^ 1], axis=1).astype(np.int32)
        slots = Slots(np.array(reads, np.int32), writes)
        return tuple(slots if group.recurrent else tables for group in self.program.graph.groups)


@dataclass(frozen=True, eq=False)
class _Piece:
    """Tokens of one part in one step."""

    part: int
    sequence: DirectSequence
    tokens: Sequence[int]
    wanted: NDArray[np.int64]
    """Rows of the piece whose outputs are wanted."""
    types: Sequence[int] | None
    embeddings: Array | None


def _steps(parts: Sequence[Part], size: int, *, whole: bool) -> list[list[_Piece]]:
    """Divides the parts into steps of at most `size` tokens, in order; `whole`: no part is divided."""
    steps: list[list[_Piece]] = [[]]
    room = size
    for number, part in enumerate(parts):
        start = 0
        while start < len(part.tokens):
            if not room or (whole and room < len(part.tokens)):
                steps.append([])
                room = size
            end = min(len(part.tokens), start + room)
            first = start if part.want_all else len(part.tokens) - 1
            wanted = np.arange(max(first, start), end, dtype=np.int64) - start
            types = None if part.types is None else part.types[start:end]
            tokens, rows = part.tokens[start:end], part.embeddings
            if rows is not None:
                before = _replaced(part.tokens[:start])
                rows = rows[before : before + _replaced(tokens)]
            steps[-1].append(_Piece(number, part.sequence, tokens, wanted, types, rows))
            room -= end - start
            start = end
    return [step for step in steps if step]


def _types(pieces: Sequence[_Piece]) -> Ints | None:
    """The types of the step's tokens; None if no part gives any."""
    if all(piece.types is None for piece in pieces):
        return None
    given = [[0] * len(piece.tokens) if piece.types is None else piece.types for piece in pieces]
    return np.concatenate([np.array(types, np.int32) for types in given])


def _embeddings(pieces: Sequence[_Piece]) -> Array | None:
    """The embeddings of the step; None if no part gives any for its tokens."""
    given = [piece.embeddings for piece in pieces if piece.embeddings is not None and len(piece.embeddings)]
    return np.concatenate(given) if given else None


def _replaced(tokens: Sequence[int]) -> int:
    """The number of tokens in whose place embeddings stand."""
    return int(np.count_nonzero(np.asarray(tokens) == IN_PLACE))


def _range(first: int, count: int) -> Ints:
    return np.arange(first, first + count, dtype=np.int32)
