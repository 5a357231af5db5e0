"""The conformance suite for columns, heads and positions: vectors of the file, and matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from zigai_core.contracts.batch import Batch, Ints
from zigai_core.contracts.errors import ShapeError, UnsupportedError
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import UnaryKind
from zigai_core.testing.backend.base import Conformance, outputs_of
from zigai_core.testing.checks import ints, raises
from zigai_core.testing.toys import random_tensors

VOCABULARY, WIDTH, HEADS, HEAD, OUT, POSITIONS = 40, 36, 3, 12, 20, 128
TENSORS = random_tensors(
    {
        "token_embd.weight": (VOCABULARY, WIDTH),
        "position_embd.weight": (POSITIONS, WIDTH),
        "token_types.weight": (2, WIDTH),
        "inner_norm.weight": (WIDTH,),
        "decay": (WIDTH,),
        "shift.bias": (WIDTH,),
        "attn_k_b.weight": (HEADS, OUT, HEAD),
        "attn_v_b.weight": (HEADS, HEAD, OUT),
        "ends.weight": (HEADS, HEAD, HEAD - 2),
        "pairs.weight": (HEADS, HEAD - 2, 2 * HEAD - 7),
        "output.weight": (VOCABULARY, WIDTH),
    }
)


def columns_graph() -> Graph:
    """Returns a graph with each operation of this suite, the outputs `hidden` and `logits`.

    Epsilons are large, so that they count.
    """
    g = GraphBuilder(TENSORS)
    x = g.embedding("token_embd", WIDTH)
    x = g.inputs(g.scale(x, WIDTH**0.5, name="scaled"))
    at = g.position_embedding("position_embd", WIDTH, context=POSITIONS)
    x = g.column_shift(g.add(x, at, name="placed"), "token_types.weight", row=1, name="typed")
    x = g.add(x, g.type_embedding("token_types", WIDTH), name="of its type")
    x = g.layer_norm(x, None, 0.5, name="plain_norm")
    x = g.position_scale(x, length=5, factor=0.3, offset=1, name="tempered")
    y = g.rms_norm(x, "inner_norm", 0.25, groups=2)
    y = g.column_shift(g.column_scale(y, "decay", name="decayed"), "shift.bias", name="shifted")
    y = g.multiply(y, g.unary(y, "softplus", name="softplus"), name="product")
    inner = g.columns(y, 2, HEAD - 2, groups=HEADS, name="ends of heads")
    y = g.add(y, g.head_linear(inner, "ends", HEADS, HEAD), name="with ends")
    y = g.concat(g.columns(y, 0, WIDTH - HEADS * 5, name="begin"), inner, groups=HEADS, name="joined")
    y = g.head_linear(y, "pairs", HEADS, HEAD - 2)
    y = g.concat(y, g.columns(x, 3, 2, name="two"), groups=HEADS, shared=True, name="with two")
    y = g.head_linear(y, "attn_k_b", HEADS, OUT)
    x = g.add(g.select(x), g.head_linear(g.select(y, name="heads"), "attn_v_b", HEADS, HEAD), name="sum")
    x = g.l2_norm(x, 0.5, group=HEAD, name="unit")
    g.output("hidden", x)
    g.output("logits", g.linear(x, "output", VOCABULARY, name="logits"))
    return g.finish()


def of_positions(context: int = POSITIONS) -> Graph:
    """Returns a graph of what depends on positions alone, `[wanted, WIDTH]`, under the name `hidden`."""
    g = GraphBuilder(TENSORS)
    x = g.position_embedding("position_embd", WIDTH, context=context)
    g.output("hidden", g.select(g.position_scale(x, length=7, factor=0.5, name="tempered")))
    return g.finish()


def of_types() -> Graph:
    """Returns a graph of what depends on types alone, `[wanted, WIDTH]`, under the name `hidden`."""
    g = GraphBuilder(TENSORS)
    g.output("hidden", g.select(g.type_embedding("token_types", WIDTH)))
    return g.finish()


class ColumnsConformance(Conformance):
    """Tests of functions of elements, of positions other than those of RoPE, and of types of tokens."""

    def test_every_kind_of_unary_operation_agrees_with_the_reference(self) -> None:
        g = GraphBuilder(TENSORS)
        x = g.scale(g.embedding("token_embd", WIDTH), 8 * WIDTH**0.5, name="scaled")
        for kind in get_args(UnaryKind):
            g.output(kind, g.select(g.unary(x, kind, name=kind), name=f"wanted {kind}"))
        self._outputs_agree(g.finish(), TENSORS, range(VOCABULARY))

    def test_embeddings_and_scales_are_those_of_the_positions(self) -> None:
        program = self._compile(of_positions(), TENSORS)
        table = TENSORS["position_embd.weight"].to_float32()

        def expected(positions: Ints) -> Array:
            scale = [1 + 0.5 * np.log(1 + position // 7) for position in positions.tolist()]
            rows: Array = table[positions] * np.array(scale, np.float32)[:, None]
            return rows

        rows = outputs_of(program, range(20))["hidden"]
        np.testing.assert_allclose(rows, expected(ints(range(20))), rtol=1e-5, atol=self.reference_tolerance)
        positions = np.random.RandomState(5).randint(0, POSITIONS, (2, 20)).astype(np.int32)
        batch = replace(_batch(20), positions=positions)
        rows = program.new_executor(()).run(batch, ints([0])).rows("hidden")
        np.testing.assert_allclose(rows, expected(positions[0]), rtol=1e-5, atol=self.reference_tolerance)

    def test_embeddings_of_types_are_those_of_the_step(self) -> None:
        at = self._compile(of_types(), TENSORS).new_executor(())
        table = TENSORS["token_types.weight"].to_float32()
        for types in (None, ints([1, 0, 0, 1, 1, 0]), ints([0] * 6)):
            batch = replace(_batch(6), types=types, output_rows=ints([4, 0, 3]))
            rows = at.run(batch, ints([0])).rows("hidden")
            expected = table[[0, 0, 0] if types is None else types[[4, 0, 3]]]
            np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=self.reference_tolerance)

    def test_types_that_a_graph_does_not_know_are_refused(self) -> None:
        at = self._compile(of_types(), TENSORS).new_executor(())
        none = self._compile(of_positions(), TENSORS).new_executor(())
        none.run(replace(_batch(3), types=ints([0, 0, 0])), ints([0]))
        for executor, wrong in ((at, [0, 2, 1]), (at, [0, -1, 1]), (at, [0, 1]), (none, [0, 0, 1])):
            batch = replace(_batch(3), types=ints(wrong))
            raises(ShapeError, f"types {wrong}", executor.run, batch, ints([0]))
        batch = replace(_batch(3), types=np.zeros(3, np.int64))
        raises(ShapeError, "types of 64 bits", at.run, batch, ints([0]))

    def test_positions_and_contexts_without_embeddings_are_refused(self) -> None:
        program = self._compile(of_positions(), TENSORS)
        at = program.new_executor(())
        for wrong in (POSITIONS, -1):
            batch = replace(_batch(3), positions=np.array([[0, wrong, 1]], np.int32))
            raises(ShapeError, f"a position of {wrong}", at.run, batch, ints([0]))
        options = CompileOptions(context=POSITIONS + 1, batch=8, page=8)
        arguments: tuple[Any, Mapping[str, Any], CompileOptions] = (of_positions(), TENSORS, options)
        raises(UnsupportedError, "a context of more positions", self.backend.compile, *arguments)


def _batch(count: int) -> Batch:
    places = np.arange(count, dtype=np.int32)
    return Batch(places, np.zeros(count, np.int32), places, places)
