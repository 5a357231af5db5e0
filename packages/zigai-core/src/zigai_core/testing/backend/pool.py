"""The conformance suite for pooling."""

from __future__ import annotations

from typing import get_args

import numpy as np

from zigai_core.contracts.batch import Batch
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import PoolKind
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend.base import Conformance
from zigai_core.testing.checks import raises
from zigai_core.testing.toys import random_tensors

VOCABULARY, HEADS, HEAD, OUT = 40, 2, 9, 7
WIDTH = HEADS * HEAD
OPTIONS = CompileOptions(context=64, batch=64, page=8)
TENSORS = random_tensors(
    {
        "token_embd.weight": (VOCABULARY, WIDTH),
        **{f"blk.0.attn_{part}.weight": (WIDTH, WIDTH) for part in "qkv"},
        "dense_2.weight": (OUT, WIDTH),
    }
)


def pooling(kind: PoolKind, *, attends: bool = True) -> Graph:
    """Returns an encoder of one layer whose output `hidden` is a product with the pool, `[wanted, OUT]`."""
    g = GraphBuilder(TENSORS)
    x = g.embedding("token_embd", WIDTH)
    if attends:
        q, k, v = (g.linear(x, f"blk.0.attn_{part}", WIDTH) for part in "qkv")
        x = g.attention(
            q, k, v, state=None, heads=HEADS, kv_heads=HEADS, head_dim=HEAD, window=4, name="attention"
        )
    g.output("hidden", g.linear(g.pool(x, kind), "dense_2", OUT))
    return g.finish()


class PoolConformance(Conformance):
    """Tests of the operation `Pool`."""

    def _pooled(self, graph: Graph, batch: Batch) -> Array:
        """Returns the output for a batch, after comparing it with the reference's."""
        programs = (NumpyBackend().compile(graph, TENSORS, OPTIONS), self._compile(graph, TENSORS, OPTIONS))
        expected, actual = (
            program.new_executor(()).run(batch, np.zeros(1, np.int32)).rows("hidden") for program in programs
        )
        np.testing.assert_allclose(actual, expected, rtol=0, atol=self.reference_tolerance)
        return actual.copy()

    def test_each_output_row_has_the_pool_of_its_own_sequence(self) -> None:
        lengths = np.array([9, 1, 20, 3], np.int32)
        sequences = np.repeat(np.arange(4, dtype=np.int32), lengths)
        index = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
        tokens = (np.arange(33, dtype=np.int32) * 7) % VOCABULARY
        wanted = np.array([32, 9, 3, 0, 15], np.int32)  # of the sequences 3, 1, 0, 0, 2
        together = Batch(tokens, sequences, index, wanted, ends=lengths[sequences])
        for kind in get_args(PoolKind):
            for attends in (True, False):
                graph = pooling(kind, attends=attends)
                program = self._compile(graph, TENSORS, OPTIONS)
                rows = self._pooled(graph, together)
                np.testing.assert_array_equal(rows[2], rows[3])
                for row, sequence in zip(rows, (3, 1, 0, 0, 2), strict=True):
                    own = np.flatnonzero(sequences == sequence)
                    count = len(own)
                    alone = Batch(
                        tokens[own],
                        np.zeros(count, np.int32),
                        index[own],
                        np.array([count - 1], np.int32),
                        ends=np.full(count, count, np.int32),
                    )
                    self._close(self._pooled(graph, alone)[0], row, program)

    def test_a_part_of_a_sequence_is_refused(self) -> None:
        places = np.arange(3, 7, dtype=np.int32)
        sequences = np.zeros(4, np.int32)
        batch = Batch(places, sequences, places, sequences[:1], ends=np.full(4, 7, np.int32))
        for attends in (True, False):
            at = self._compile(pooling("mean", attends=attends), TENSORS, OPTIONS).new_executor(())
            raises(ShapeError, "a sequence without its first rows", at.run, batch, np.zeros(1, np.int32))

    def test_kinds_of_pooling_differ(self) -> None:
        count = 12
        places = np.arange(count, dtype=np.int32)
        batch = Batch(
            places,
            np.zeros(count, np.int32),
            places,
            np.array([5], np.int32),
            ends=np.full(count, count, np.int32),
        )
        rows = [self._pooled(pooling(kind, attends=False), batch)[0] for kind in ("mean", "cls", "last")]
        table = TENSORS["token_embd.weight"].to_float32() @ TENSORS["dense_2.weight"].to_float32().T
        for row, right in zip(rows, (table[:count].mean(0), table[0], table[count - 1]), strict=True):
            np.testing.assert_allclose(row, right, rtol=0, atol=self.reference_tolerance)
