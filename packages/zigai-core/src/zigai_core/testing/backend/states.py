"""The conformance suite for states: page tables of groups, rows that see later ones, encoders."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Batch, Pages, Slots
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Program
from zigai_core.contracts.state import KVCache
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend.base import Conformance
from zigai_core.testing.toys import random_tensors

VOCABULARY, WIDTH, HEADS, HEAD = 40, 32, 4, 8
PAGE, TOKENS = 8, 45
OPTIONS = CompileOptions(context=64, batch=64, page=PAGE)
FREQUENCIES = np.array([1.0, 0.3, 0.1, 0.03], np.float32)


def state_tensors() -> dict[str, TensorInfo]:
    """Returns an embedding, and projections of two layers."""
    names = [f"blk.{layer}.attn_{part}.weight" for layer in (0, 1) for part in "qkv"]
    return random_tensors({"token_embd.weight": (VOCABULARY, WIDTH), **dict.fromkeys(names, (WIDTH, WIDTH))})


def two_layers(
    *,
    windows: tuple[int | None, int | None] = (None, None),
    stateless: bool = False,
    shared: bool = False,
    sections: NDArray[np.int32] | None = None,
) -> Graph:
    """Returns two layers of attention with RoPE; `shared`: the second one reads the first one's cache."""
    g = GraphBuilder(state_tensors())
    x = g.embedding("token_embd", WIDTH)
    sizes: dict[str, Any] = {"heads": HEADS, "kv_heads": HEADS, "head_dim": HEAD}
    cache = g.state("shared", KVCache(HEADS, HEAD, HEAD)) if shared else None
    for layer, window in enumerate(windows):
        at = f"blk.{layer}"
        q, k, v = (g.linear(x, f"{at}.attn_{part}", WIDTH) for part in "qkv")
        q = g.rope(q, HEAD, FREQUENCIES, "half", sections=sections, name=f"{at}.q_rope")
        k = g.rope(k, HEAD, FREQUENCIES, "half", sections=sections, name=f"{at}.k_rope")
        how = sizes | {"window": window, "name": f"{at}.attention"}
        if shared and layer == 1:
            y = g.attention(q, None, None, state=cache, **how)
        else:
            y = g.attention(q, k, v, state=None if stateless else cache or at, **how)
        x = g.add(x, y, name=f"{at}.residual")
    g.output("hidden", g.select(x))
    return g.finish()


class StatesConformance(Conformance):
    """Tests of what a step reads and writes."""

    def _agree(self, graph: Graph, steps: list[Batch], sizes: tuple[int, ...] = ()) -> list[Array]:
        """Returns the outputs of each step, after comparing them with the reference's."""
        actual = _rows(self._compile(graph, state_tensors(), OPTIONS), steps, sizes)
        expected = _rows(NumpyBackend().compile(graph, state_tensors(), OPTIONS), steps, sizes)
        for rows, right in zip(actual, expected, strict=True):
            np.testing.assert_allclose(rows, right, rtol=0, atol=self.reference_tolerance)
        return actual

    def test_pages_behind_a_window_are_not_read(self) -> None:
        graph = two_layers(windows=(6, 20))
        full = [np.array([[5, 0, 3, 1, 2, 4], [1, 2, 3, 4, 5, 6]], np.int32)[group] for group in (0, 1)]
        whole = _batch(range(TOKENS), groups=tuple(Pages([table]) for table in full))
        later = _batch(range(3), first=TOKENS, groups=whole.groups)
        given_up = []
        for table, window in zip(full, (6, 20), strict=True):
            kept = table.copy()
            kept[: (TOKENS - window + 1) // PAGE] = -1
            given_up.append(Pages([kept]))
        kept_all = self._agree(graph, [whole, later], (7, 7))[1]
        without = self._agree(graph, [whole, replace(later, groups=tuple(given_up))], (7, 7))[1]
        np.testing.assert_array_equal(without, kept_all)

    def test_layers_may_share_a_state(self) -> None:
        pages = (Pages([np.arange(6, dtype=np.int32)]),)
        steps = [_batch(range(20), groups=pages), _batch(range(9), first=20, groups=pages)]
        graph = two_layers(shared=True)
        assert len(graph.states) == 1
        self._agree(graph, steps, (6,))

    def test_rows_may_see_later_ones(self) -> None:
        pages = (Pages([np.arange(6, dtype=np.int32)]),)
        ends = np.arange(1, TOKENS + 1, dtype=np.int32)
        ends[7:29] = 29  # an image in a text
        for window in (None, 5, 13):
            graph = two_layers(windows=(window, window))
            self._agree(graph, [replace(_batch(range(TOKENS), groups=pages), ends=ends)], (6,))
            cuts = [0, 7, 29, 30, TOKENS]
            steps = [
                replace(_batch(range(a, b), first=a, groups=pages), ends=ends[a:b]) for a, b in pairwise(cuts)
            ]
            self._agree(graph, steps, (6,))

    def test_an_encoder_sees_whole_sequences(self) -> None:
        for window in (None, 4, 11):
            graph = two_layers(windows=(window, None), stateless=True)
            assert graph.whole_sequences
            assert graph.groups == ()
            alone = _batch(range(TOKENS))
            ends = np.full(TOKENS, TOKENS, np.int32)
            whole = self._agree(graph, [replace(alone, ends=ends)])[0]
            lengths = (9, 1, 20)
            sequences = np.repeat(np.arange(3, dtype=np.int32), lengths)
            index = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
            beside = Batch(
                tokens=index,
                sequences=sequences,
                index=index,
                output_rows=np.arange(30, dtype=np.int32),
                ends=np.repeat(np.array(lengths, np.int32), lengths),
            )
            together = self._agree(graph, [beside])[0]
            first = replace(_batch(range(9)), ends=np.full(9, 9, np.int32))
            program = self._compile(graph, state_tensors(), OPTIONS)
            self._close(self._agree(graph, [first])[0], together[:9], program)
            assert np.abs(whole[:9] - together[:9]).max() > 1e-3

    def test_positions_may_differ_from_the_place_in_the_sequence(self) -> None:
        pages = (Pages([np.arange(6, dtype=np.int32)]),)
        batch = _batch(range(20), groups=pages)
        positions = np.random.RandomState(5).randint(0, 50, (2, 20)).astype(np.int32)
        self._agree(two_layers(), [replace(batch, positions=positions[:1])], (6,))
        sections = np.array([0, 1, 1, 0], np.int32)
        turned = self._agree(two_layers(sections=sections), [replace(batch, positions=positions)], (6,))
        plain = self._agree(two_layers(), [batch], (6,))
        assert np.abs(turned[0] - plain[0]).max() > 1e-3


def _rows(program: Program, steps: list[Batch], sizes: tuple[int, ...]) -> list[Array]:
    executor = program.new_executor(sizes)
    return [executor.run(step, np.zeros(1, np.int32)).rows("hidden").copy() for step in steps]


def _batch(tokens: range, *, first: int = 0, groups: tuple[Pages | Slots, ...] = ()) -> Batch:
    count = len(tokens)
    return Batch(
        tokens=np.array(tokens, np.int32) % VOCABULARY,
        sequences=np.zeros(count, np.int32),
        index=np.arange(first, first + count, dtype=np.int32),
        output_rows=np.arange(count, dtype=np.int32),
        groups=groups,
    )
