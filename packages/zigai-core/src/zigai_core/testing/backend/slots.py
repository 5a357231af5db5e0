"""The conformance suite for recurrent states: what a step reads from slots and writes to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zigai_core.contracts.batch import Batch, Slots
from zigai_core.contracts.errors import Cancelled, ShapeError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Executor
from zigai_core.testing.backend.base import Conformance
from zigai_core.testing.backend.graphs import VOCABULARY, recurrent_graph, recurrent_tensors
from zigai_core.testing.checks import ints, raises

RUN = np.zeros(1, np.int32)
LONG = list(range(3, 20))


class SlotsConformance(Conformance):
    """Tests of slots, with an operation of a plugin, `DecayingSum`.

    A backend without recurrent states, or without operations of plugins, must name it as missing and refuse
    the graph; these tests are skipped then.
    """

    def test_a_sequence_without_tokens_has_zeros(self) -> None:
        at = self._slots(2)
        _run(at, [5, 6, 7], writes=[(2, 0), (1, 1)])
        self._are_sums(_run(at, [8, 9]), [8, 9])

    def test_each_checkpoint_in_a_chunk_has_the_state_after_its_row(self) -> None:
        at = self._slots(6)
        self._are_sums(_run(at, LONG, writes=[(16, 1), (0, 4), (7, 0), (15, 5)]), LONG)
        for row, slot in ((0, 4), (7, 0), (15, 5), (16, 1)):
            own = [*LONG[: row + 1], 2, 1]
            self._are_sums(_run(at, [2, 1], first=row + 1, read=slot), own)

    def test_a_state_may_be_written_to_two_slots(self) -> None:
        at = self._slots(3)
        _run(at, [5, 6], writes=[(1, 0), (1, 2)])
        for slot in (0, 2):
            self._are_sums(_run(at, [7], first=2, read=slot), [5, 6, 7])

    def test_a_slot_that_is_read_or_not_named_is_unchanged(self) -> None:
        at = self._slots(4)
        _run(at, [5, 6], writes=[(1, 0)])
        _run(at, [9], writes=[(0, 1)])
        _run(at, [7, 8], first=2, read=0, writes=[(1, 3), (0, 2)])
        _run(at, [7, 8, 9], first=2, read=0)
        for slot, own in ((0, [5, 6]), (1, [9]), (2, [5, 6, 7]), (3, [5, 6, 7, 8])):
            self._are_sums(_run(at, [4], first=len(own), read=slot), [*own, 4])

    def test_forks_read_one_slot(self) -> None:
        at = self._slots(4)
        _run(at, [5, 6], writes=[(1, 3)])
        # Three forks in a step, the middle one of two tokens, and a new sequence before them.
        batch = Batch(
            tokens=ints([1, 7, 8, 9, 7]),
            sequences=ints([0, 1, 2, 2, 3]),
            index=ints([0, 2, 2, 3, 2]),
            output_rows=ints(range(5)),
            groups=(Slots(ints([-1, 3, 3, 3]), np.array([(3, 0), (1, 1), (4, 2)], np.int32)),),
        )
        rows = at.run(batch, RUN).rows("hidden").copy()
        for row, own in enumerate(([1], [5, 6, 7], [5, 6, 8], [5, 6, 8, 9], [5, 6, 7])):
            self._are_sums(rows[row : row + 1], own)
        for slot, own in ((0, [5, 6, 8, 9]), (1, [5, 6, 7]), (2, [5, 6, 7]), (3, [5, 6])):
            self._are_sums(_run(at, [2], first=len(own), read=slot), [*own, 2])

    def test_a_step_that_fails_or_is_cancelled_changes_no_slot_that_was_readable(self) -> None:
        at = self._slots(3)
        _run(at, [5, 6], writes=[(1, 0)])
        for error, tokens, stop in ((ShapeError, [7, VOCABULARY], 0), (Cancelled, [7, 8], 1)):
            raises(error, str(tokens), _run, at, tokens, first=2, read=0, writes=[(1, 1)], stop=stop)
            self._are_sums(_run(at, [7, 8], first=2, read=0, writes=[(1, 2)]), [5, 6, 7, 8])
            self._are_sums(_run(at, [9], first=4, read=2), [5, 6, 7, 8, 9])

    def test_slots_are_copied_whole(self) -> None:
        at = self._slots(4)
        _run(at, [5, 6], writes=[(1, 0), (0, 1)])
        at.copy(0, [(0, 2), (1, 3), (2, 1)])  # in this order
        at.copy(0, [])
        for slot, own in ((0, [5, 6]), (1, [5, 6]), (2, [5, 6]), (3, [5])):
            self._are_sums(_run(at, [4], first=len(own), read=slot), [*own, 4])

    def test_slots_out_of_range_are_refused(self) -> None:
        at = self._slots(2)
        for read, writes in ((2, []), (-2, []), (-1, [(0, 2)]), (-1, [(0, -1)]), (-1, [(1, 0)])):
            raises(ShapeError, f"reads {read}, writes {writes}", _run, at, [5], read=read, writes=writes)

    def _slots(self, count: int) -> Executor:
        """Returns an executor with so many slots."""
        tensors = recurrent_tensors()
        options = CompileOptions(context=32, batch=32, page=8)
        program = self._compile(recurrent_graph(tensors), tensors, options, "recurrent state")
        return program.new_executor([count])

    def _are_sums(self, rows: Array, tokens: Sequence[int]) -> None:
        """Asserts that `rows` are the outputs after the last of `tokens`, by a loop in float64."""
        tensors = recurrent_tensors()
        table = tensors["token_embd.weight"].to_float32().astype(float)
        decay = tensors["decay.weight"].to_float32().astype(float)
        total, expected = np.zeros(table.shape[1]), []
        for place, token in enumerate(tokens):
            total = decay * total + table[token]
            expected.append(total / (1 + place / 64))
        np.testing.assert_allclose(
            rows, expected[-len(rows) :], rtol=1e-6, atol=self.reference_tolerance, err_msg=str(tokens)
        )


def _run(
    at: Executor,
    tokens: Sequence[int],
    *,
    first: int = 0,
    read: int = -1,
    writes: Sequence[tuple[int, int]] = (),
    stop: int = 0,
) -> Array:
    """Appends tokens to a sequence of `first` tokens, whose state is in the slot `read`."""
    batch = Batch(
        tokens=ints(tokens),
        sequences=ints([0] * len(tokens)),
        index=ints(range(first, first + len(tokens))),
        output_rows=ints(range(len(tokens))),
        groups=(Slots(ints([read]), np.array(writes, np.int32).reshape(-1, 2)),),
    )
    return at.run(batch, ints([stop])).rows("hidden").copy()
