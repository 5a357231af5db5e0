"""The conformance suite for the k largest logits of a row."""

from __future__ import annotations

import numpy as np

from zigai_core.contracts.batch import Batch
from zigai_core.contracts.best import Edits, best, bitset
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import CompileOptions
from zigai_core.ops.builder import GraphBuilder
from zigai_core.testing.conformance import Conformance

VOCABULARY = 1003
"""Tokens; not a multiple of the 32 bits of a mask's word."""


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
        table = np.stack(list(rows.values()))
        data = np.ascontiguousarray(table).view(np.uint8).reshape(-1)
        tensors = {"rows.weight": TensorInfo("rows.weight", table.shape, DTYPES["F32"], data)}
        g = GraphBuilder(tensors)
        g.output("logits", g.select(g.embedding("rows", VOCABULARY)))
        program = self.backend.compile(g.finish(), tensors, CompileOptions(context=16, batch=16))
        count = np.arange(len(table), dtype=np.int32)
        batch = Batch(tokens=count, sequences=count * 0, index=count, output_rows=count)
        outputs = program.new_executor(()).run(batch, np.zeros(1, np.int32))
        rng = np.random.default_rng(1)
        ids = np.sort(rng.choice(VOCABULARY, 70, replace=False)).astype(np.int32)
        changed = rng.choice([-np.inf, -1.0, -0.0, 0.25, 9.0], len(ids)).astype(np.float32)
        every_edit = (None, Edits(ids, changed))
        every_mask = (None, *(bitset(rng.random(VOCABULARY) < share) for share in (1.0, 0.5, 0.002, 0.0)))
        for number, (name, row) in enumerate(rows.items()):
            for k in (1, 2, 40, VOCABULARY, VOCABULARY + 3):
                for edits in every_edit:
                    for mask in every_mask:
                        expected, found = best(row, k, edits, mask), outputs.best(number, k, edits, mask)
                        case = f"{name}, k: {k}, edits: {edits is not None}, mask: {mask is not None}"
                        np.testing.assert_array_equal(found.ids, expected.ids, case)
                        assert found.logits.tobytes() == expected.logits.tobytes(), case
                        assert found.damaged == expected.damaged, case
