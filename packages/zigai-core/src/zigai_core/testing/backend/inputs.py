"""The conformance suite for embeddings that are given in place of tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from zigai_core.contracts.batch import Batch
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Array, Graph
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.builder import GraphBuilder
from zigai_core.testing.backend.base import Conformance
from zigai_core.testing.checks import ints, raises
from zigai_core.testing.toys import random_tensors

VOCABULARY, WIDTH, HEADS = 40, 36, 3
TENSORS = random_tensors(
    {
        "token_embd.weight": (VOCABULARY, WIDTH),
        "other_embd.weight": (VOCABULARY, WIDTH),
        "output.weight": (VOCABULARY, WIDTH),
    }
)
TABLE, OTHER = (TENSORS[f"{name}_embd.weight"].to_float32() for name in ("token", "other"))
GIVEN: Array = np.random.RandomState(3).randn(6, WIDTH).astype(np.float32)
RUN = np.zeros(1, np.int32)


def inputs_graph() -> Graph:
    """Returns a graph that attends to doubled embeddings, or to rows in their place, with logits."""
    g = GraphBuilder(TENSORS)
    x = g.inputs(g.scale(g.embedding("token_embd", WIDTH), 2.0, name="doubled"))
    y = g.attention(x, x, x, state="layer", heads=HEADS, kv_heads=HEADS, head_dim=WIDTH // HEADS, name="y")
    g.output("logits", g.linear(g.select(g.add(x, y, name="sum")), "output", VOCABULARY, name="logits"))
    return g.finish()


def rows_graph(*, taken: bool = True) -> Graph:
    """Returns a graph of embeddings alone, with the outputs `inputs`, `before` and `other`.

    `inputs` is what `Inputs` returns, if embeddings are `taken`; `before` what it reads; `other` the rows of
    another table.
    """
    g = GraphBuilder(TENSORS)
    x = g.embedding("token_embd", WIDTH)
    g.output("inputs", g.select(g.inputs(x, name="given") if taken else x, name="inputs"))
    g.output("before", g.select(x, name="before"))
    g.output("other", g.select(g.embedding("other_embd", WIDTH), name="other"))
    return g.finish()


class InputsConformance(Conformance):
    """Tests of `Batch.embeddings` and of the operation `Inputs`."""

    def test_embeddings_stand_where_rows_have_no_token(self) -> None:
        at = self._compile(rows_graph(), TENSORS).new_executor(())
        tokens, wanted = ints([-1, 3, -1, -1, 5, -1]), ints([5, 0, 4, 1, 3])
        for given in (GIVEN[:4], GIVEN[2:], None):
            batch = replace(_batch(tokens if given is not None else abs(tokens)), embeddings=given)
            outputs = at.run(replace(batch, output_rows=wanted), RUN)
            for name, table in (("inputs", TABLE), ("before", TABLE), ("other", OTHER)):
                expected = table[batch.tokens]
                if given is not None:
                    expected[tokens == -1] = given if name == "inputs" else 0
                np.testing.assert_array_equal(outputs.rows(name), expected[wanted], err_msg=name)

    def test_rows_of_the_table_equal_its_tokens_in_every_chunking(self) -> None:
        program = self._compile(inputs_graph(), TENSORS)
        tokens = np.random.RandomState(4).randint(0, VOCABULARY, 20).astype(np.int32)
        replaced = np.where(np.arange(20) % 3 == 1, -1, tokens).astype(np.int32)
        rows = 2 * TABLE[tokens[replaced == -1]]
        other = tokens[::-1].copy()
        for size in (1, 2, 7, 20):
            found = []
            for own, embeddings in ((tokens, None), (replaced, rows)):
                at = DirectRunner(program, 2)
                sequence, beside = at.new_sequence(), at.new_sequence()
                outputs = []
                for start in range(0, 20, size):
                    chunk = own[start : start + size]
                    before = np.count_nonzero(own[:start] == -1)
                    given = embeddings
                    if given is not None:
                        given = given[before : before + np.count_nonzero(chunk == -1)]
                    parts: list[Any] = [
                        Part(beside, other[start : start + size].tolist(), want_all=True),
                        Part(sequence, chunk.tolist(), want_all=True, embeddings=given),
                    ]
                    outputs += [part["logits"] for part in at.run(parts)]
                found.append(np.concatenate(outputs))
            np.testing.assert_array_equal(found[0], found[1], err_msg=f"chunks of {size}")

    def test_embeddings_that_do_not_fit_a_batch_are_refused(self) -> None:
        at = self._compile(rows_graph(), TENSORS).new_executor(())
        tokens = ints([-1, 3, -1])
        wrong: list[Any] = [None, GIVEN[:1], GIVEN[:3], GIVEN[:2, 1:], GIVEN[0], GIVEN[:2].tolist()]
        for given in (*wrong, GIVEN[:2].astype(np.float64)):
            raises(ShapeError, f"{given}", at.run, replace(_batch(tokens), embeddings=given), RUN)
        for number in (-2, VOCABULARY):
            batch = replace(_batch(ints([-1, number, 3])), embeddings=GIVEN[:1])
            raises(ShapeError, f"the token {number}", at.run, batch, RUN)
        batch = replace(_batch(ints([1, 2])), embeddings=GIVEN[:1])
        raises(ShapeError, "embeddings for no row", at.run, batch, RUN)
        at.run(replace(_batch(ints([1, 2])), embeddings=GIVEN[:0]), RUN)

    def test_a_graph_without_inputs_refuses_embeddings(self) -> None:
        at = self._compile(rows_graph(taken=False), TENSORS).new_executor(())
        for tokens, given in (([-1, 3], GIVEN[:1]), ([1, 3], GIVEN[:0]), ([-1, 3], None)):
            batch = replace(_batch(ints(tokens)), embeddings=given)
            raises(ShapeError, f"embeddings for {tokens}", at.run, batch, RUN)


def _batch(tokens: Any) -> Batch:
    places = np.arange(len(tokens), dtype=np.int32)
    return Batch(tokens, np.zeros(len(tokens), np.int32), places, places)
