"""The conformance suite for the k largest logits of a row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Batch
from zigai_core.contracts.best import Best, Edits, best, bitset
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Outputs
from zigai_core.ops.builder import GraphBuilder
from zigai_core.testing.backend.base import Conformance
from zigai_core.testing.checks import raises

VOCABULARY = 1003
"""Tokens; not a multiple of the 32 bits of a mask's word."""

WIDTHS = (1, 31, 64, 65, 700, 963, 992, VOCABULARY)
"""Widths within a row: multiples of 64, of 32 and of neither."""

DAMAGED = (1, 5, 63, 64, 65, 992, VOCABULARY - 1)
"""Places of a logit that is NaN."""


def rows_of_logits(seed: int = 0) -> dict[str, Array]:
    """Returns rows `[VOCABULARY]` by kind: random, with ties, zeros of both signs or damaged logits."""
    rng = np.random.default_rng(seed)
    damaged = rng.normal(0, 3, VOCABULARY)
    damaged[[700, 40, 41]] = np.inf, np.nan, -np.inf
    kinds = {
        "random": rng.normal(0, 3, VOCABULARY),
        "ties": rng.choice([-1.0, 0.5, 2.0], VOCABULARY),
        "all equal": np.full(VOCABULARY, -2.5),
        "zeros of both signs": rng.choice([0.0, -0.0], VOCABULARY),
        "extreme": rng.choice([-3.4e38, -1e-45, 1e-45, 3.4e38], VOCABULARY),
        "damaged": damaged,
    }
    return {name: row.astype(np.float32) for name, row in kinds.items()}


class BestConformance(Conformance):
    """Tests that `Outputs.best` equals `contracts.best.best`."""

    def test_the_best_of_an_output_row_equal_the_definition(self) -> None:
        rows = rows_of_logits()
        outputs = self._outputs(rows)
        every_edit = (None, edits_below(VOCABULARY))
        every_mask = (None, *masks_of(VOCABULARY))
        for number, (name, row) in enumerate(rows.items()):
            for k in (1, 2, 40, VOCABULARY, VOCABULARY + 3):
                for edits in every_edit:
                    for mask in every_mask:
                        case = f"{name}, k: {k}, edits: {edits is not None}, mask: {mask is not None}"
                        same(outputs.best(number, k, edits, mask), best(row, k, edits, mask), case)

    def test_the_best_within_a_width_are_those_of_a_shorter_row(self) -> None:
        rows = rows_of_logits()
        for row in rows.values():
            row[list(WIDTHS[:-1])] = 3.4e38  # right after each width, the largest logit
        outputs = self._outputs(rows)
        for width in WIDTHS:
            every_mask = (None, *(mask | bits_from(width) for mask in masks_of(width)))
            for number, (name, row) in enumerate(rows.items()):
                for k in (1, 40, width, width + 1):
                    for edits in (None, edits_below(width)):
                        for mask in every_mask:
                            case = f"{name}, width: {width}, k: {k}, {edits is not None}, {mask is not None}"
                            found = outputs.best(number, k, edits, mask, width=width)
                            same(found, best(row[:width].copy(), k, edits, mask), case)

    def test_only_logits_within_the_width_are_reported_as_damaged(self) -> None:
        rows = {str(place): np.zeros(VOCABULARY, np.float32) for place in DAMAGED}
        for place, row in zip(DAMAGED, rows.values(), strict=True):
            row[place] = np.nan
        outputs = self._outputs(rows)
        for number, place in enumerate(DAMAGED):
            for width in (place, place + 1):
                for mask in (None, *masks_of(width)):
                    damaged = outputs.best(number, 3, None, mask, width=width).damaged
                    assert damaged == (None if place == width else place), f"{place}, width: {width}"

    def test_edits_masks_and_widths_outside_the_row_are_refused(self) -> None:
        outputs = self._outputs(rows_of_logits())
        beyond = Edits(np.array([64], np.int32), np.zeros(1, np.float32))
        raises(ShapeError, "an edit", outputs.best, 0, 1, beyond, width=64)
        raises(ShapeError, "a mask", outputs.best, 0, 1, None, np.zeros(3, np.uint32), width=64)
        for width in (-1, 0, VOCABULARY + 1):
            raises(ShapeError, f"the width {width}", outputs.best, 0, 1, width=width)

    def _outputs(self, rows: Mapping[str, Array]) -> Outputs:
        """Returns outputs with these rows of logits."""
        table = np.stack(list(rows.values()))
        data = np.ascontiguousarray(table).view(np.uint8).reshape(-1)
        tensors = {"rows.weight": TensorInfo("rows.weight", table.shape, DTYPES["F32"], data)}
        g = GraphBuilder(tensors)
        g.output("logits", g.select(g.embedding("rows", VOCABULARY)))
        program = self._compile(g.finish(), tensors, CompileOptions(context=16, batch=16))
        count = np.arange(len(table), dtype=np.int32)
        batch = Batch(tokens=count, sequences=count * 0, index=count, output_rows=count)
        return program.new_executor(()).run(batch, np.zeros(1, np.int32))


def edits_below(width: int) -> Edits:
    """Returns edits of 70 tokens of a row, or of all if there are fewer."""
    rng = np.random.default_rng(1)
    ids = np.sort(rng.choice(width, min(width, 70), replace=False)).astype(np.int32)
    return Edits(ids, rng.choice([-np.inf, -1.0, -0.0, 0.25, 9.0], len(ids)).astype(np.float32))


def masks_of(width: int) -> list[NDArray[np.uint32]]:
    """Returns masks of a row that allow all tokens, half of them, few and none."""
    rng = np.random.default_rng(2)
    return [bitset(rng.random(width) < share) for share in (1.0, 0.5, 0.002, 0.0)]


def bits_from(width: int) -> NDArray[np.uint32]:
    """Returns the mask of a row with the bits that are left over in the last word."""
    words = np.zeros(-(-width // 32), np.uint32)
    words[-1] = (0xFFFFFFFF << (width - 1) % 32 + 1) & 0xFFFFFFFF
    return words


def same(found: Best, expected: Best, case: str) -> None:
    """Raises `AssertionError` unless both are equal bit for bit."""
    np.testing.assert_array_equal(found.ids, expected.ids, case)
    assert found.logits.tobytes() == expected.logits.tobytes(), case
    assert found.damaged == expected.damaged, case
