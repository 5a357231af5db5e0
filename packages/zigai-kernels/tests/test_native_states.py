"""Groups of states, states that operations share, and positions apart from the place in the sequence."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend
from zigai_core.contracts.state import KVCache
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.toys import random_tensors
from zigai_kernels import NativeBackend, NativeProgram

WIDTH, TOKENS, PAGE = 32, 60, 4
TENSORS = random_tensors(
    {"token_embd.weight": (TOKENS, WIDTH)}
    | {f"{part}{layer}.weight": (WIDTH, WIDTH) for layer in range(4) for part in "qkv"}
)
OPTIONS = CompileOptions(context=64, batch=96, page=PAGE, threads=2, kv_dtype="F32")
FREQUENCIES = np.array([1.0, 0.3, 0.1, 0.03], np.float32)


def layers(*windows: int | None, shared: bool = False, sections: Any = None) -> Graph:
    """Layers of attention with RoPE; `shared`: all read the first one's cache."""
    g = GraphBuilder(TENSORS)
    x = g.embedding("token_embd", WIDTH)
    cache = g.state("shared", KVCache(2, 8, 8, windows[0])) if shared else None
    for layer, window in enumerate(windows):
        q, k, v = (
            g.columns(g.linear(x, f"{part}{layer}", WIDTH), 0, n, name=f"{part}{layer}.c")
            for part, n in (("q", WIDTH), ("k", 16), ("v", 16))
        )
        q = g.rope(q, 8, FREQUENCIES, "half", sections=sections, name=f"q{layer}.rope")
        k = g.rope(k, 8, FREQUENCIES, "half", sections=sections, name=f"k{layer}.rope")
        reads = shared and layer > 0
        y = g.attention(
            q,
            None if reads else k,
            None if reads else v,
            state=cache or f"layer {layer}",
            heads=4,
            kv_heads=2,
            head_dim=8,
            window=window,
            name=f"attention {layer}",
        )
        x = g.add(x, y, name=f"x{layer}")
    g.output("logits", g.select(x))
    return g.finish()


def executors(backend: Backend, graph: Graph, sizes: list[int], options: CompileOptions = OPTIONS) -> Any:
    """An executor of the reference, and one of the backend."""
    return [b.compile(graph, TENSORS, options).new_executor(sizes) for b in (NumpyBackend(), backend)]


def agree(tools: Any, both: Any, batch: Any, atol: float = 2e-5) -> Any:
    expected, actual = (each.run(batch, tools.go()).rows("logits").copy() for each in both)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)
    return actual


def test_groups_have_pages_and_tables_of_their_own(tools: Any, backend: Backend) -> None:
    graph = layers(6, None, 20, 6)
    assert [group.window for group in graph.groups] == [None, 6, 20]
    program = backend.compile(graph, TENSORS, OPTIONS)
    one = program.state_bytes[0]
    assert program.state_bytes == (one, 2 * one, one)
    sizes = [40, 45, 50]
    both = executors(backend, graph, sizes)
    random = np.random.RandomState(0)
    tables = [random.permutation(size)[:30].reshape(2, 15) for size in sizes]
    for start, end in ((0, 21), (21, 22), (22, 60)):
        # two sequences, the second one 3 tokens behind, as far as it goes
        behind = range(max(0, start - 3), end - 3)
        both_rows = [*range(start, end), *behind]
        batch = tools.batch(
            both_rows,
            index=both_rows,
            sequences=[0] * (end - start) + [1] * len(behind),
            groups=tables,
        )
        agree(tools, both, batch)


def test_given_up_pages_are_not_read_and_not_needed(tools: Any, backend: Backend) -> None:
    windows = 6, 20
    both = executors(backend, layers(*windows), [15, 15])
    tables = [np.arange(15), np.arange(15)[::-1].copy()]
    agree(tools, both, tools.batch(range(41), groups=[[table] for table in tables]))
    twins = executors(backend, layers(*windows), [15, 15])
    agree(tools, twins, tools.batch(range(41), groups=[[table] for table in tables]))
    for at, count in ((41, 1), (42, 5), (47, 13)):
        given_up = []
        for table, window in zip(tables, windows, strict=True):
            kept = table.copy()
            gone = (at - window + 1) // PAGE
            kept[:gone] = -1
            given_up.append([kept])
        kept_all = tools.batch(range(at, at + count), first=at, groups=[[table] for table in tables])
        y = agree(tools, both, tools.batch(range(at, at + count), first=at, groups=given_up))
        np.testing.assert_array_equal(y, agree(tools, twins, kept_all))


@pytest.mark.parametrize(
    ("index", "ends", "bad"), [(40, None, 8), (40, None, 10), (40, 44, 10), (39, None, 8)]
)
def test_a_page_that_would_be_read_must_be_there(tools: Any, index: int, ends: int | None, bad: int) -> None:
    executor = NativeBackend().compile(layers(6, None), TENSORS, OPTIONS).new_executor([15, 15])
    kept = np.arange(11)
    ends_of = None if ends is None else [ends]
    batch = tools.batch([3], first=index, ends=ends_of, groups=[[kept], [kept]])
    executor.run(batch, tools.go())
    for wrong in (-1, 15, 2**31 - 1, -(2**31)):
        table = kept.copy()
        table[bad] = wrong
        with pytest.raises(ShapeError, match=f"sequence 0: page {wrong} is outside 0..14"):
            executor.run(tools.batch([3], first=index, ends=ends_of, groups=[[kept], [table]]), tools.go())
        table = kept.copy()
        table[: bad - 1 if bad == 8 else 8] = wrong  # behind the window
        executor.run(tools.batch([3], first=index, ends=ends_of, groups=[[kept], [table]]), tools.go())


def test_groups_are_copied_separately(tools: Any, backend: Backend) -> None:
    both = executors(backend, layers(6, None, None), [15, 15])
    agree(tools, both, tools.batch(range(20), groups=[[range(5)], [range(5)]]))
    for each in both:
        each.copy(0, [(4, 9), (3, 8), (2, 7), (1, 6), (0, 5)])
        each.copy(0, [(5, 14), (6, 5), (14, 6)])  # swaps two: copied once
        each.copy(1, [(3, 12), (4, 13), (7, 7)])
    # other tokens in the originals, of both groups
    agree(tools, both, tools.batch(range(20, 40), index=range(20), groups=[[range(5)], [range(5)]]))
    copies = [[[6, 5, 7, 8, 9, 0]], [[-1, -1, -1, 12, 13, 0]]]
    agree(tools, both, tools.batch(range(20, 24), first=20, groups=copies))


@pytest.mark.parametrize("kv_dtype", ["F32", "F16", "Q8_0"])
def test_operations_may_share_a_state(tools: Any, backend: Backend, kv_dtype: str) -> None:
    graph, options = layers(None, None, None, shared=True), dataclasses.replace(OPTIONS, kv_dtype=kv_dtype)
    program = backend.compile(graph, TENSORS, options)
    assert isinstance(program, NativeProgram)
    assert len(program.state_bytes) == len(graph.states) == 1
    assert [record.operation for record in program.plan.records].count("STORE") == 1
    both = executors(backend, graph, [15], options)
    table = [[range(15)]]
    atol = 2e-5 if kv_dtype == "F32" else 2e-2
    for start, end in ((0, 30), (30, 31), (31, 60)):
        agree(tools, both, tools.batch(range(start, end), first=start, groups=table), atol)


def test_a_shared_state_may_be_read_through_a_smaller_window(tools: Any, backend: Backend) -> None:
    both = executors(backend, layers(20, 5, 20, shared=True), [15])
    kept = np.arange(15)
    agree(tools, both, tools.batch(range(40), groups=[[kept]]))
    kept[:5] = -1
    agree(tools, both, tools.batch(range(40, 60), first=40, groups=[[kept]]))


@pytest.mark.parametrize("kv_dtype", ["F32", "F16", "Q8_0"])
def test_values_may_be_the_first_elements_of_keys(tools: Any, backend: Backend, kv_dtype: str) -> None:
    g = GraphBuilder(TENSORS)
    x = g.embedding("token_embd", WIDTH)
    state = g.state("latent", KVCache(2, 16, 5, values_in_keys=True))
    q = g.linear(x, "q0", WIDTH)
    how: dict[str, Any] = {"state": state, "heads": 2, "kv_heads": 2, "head_dim": 16, "value_dim": 5}
    a = g.attention(q, g.linear(x, "k0", WIDTH), None, name="a", **how)
    b = g.attention(q, None, None, name="b", scale=0.1, **how)
    g.output("logits", g.select(g.add(a, b, name="sum")))
    both = executors(backend, g.finish(), [15], dataclasses.replace(OPTIONS, kv_dtype=kv_dtype))
    atol = 5e-3 if kv_dtype == "F16" else 2e-5
    for start, end in ((0, 30), (30, 31), (31, 60)):
        agree(tools, both, tools.batch(range(start, end), first=start, groups=[[range(15)]]), atol)


def test_positions_do_not_change_what_a_row_sees(tools: Any, backend: Backend) -> None:
    both = executors(backend, layers(6, None), [15, 15])
    groups = [[range(15)], [range(15)]]
    anywhere = np.random.RandomState(3).randint(-9, 500, (1, TOKENS))
    plain = agree(tools, both, tools.batch(range(TOKENS), groups=groups))
    turned = agree(tools, both, tools.batch(range(TOKENS), groups=groups, positions=anywhere), 2e-4)
    assert np.abs(plain - turned).max() > 1e-2
    given = agree(tools, both, tools.batch(range(TOKENS), groups=groups, positions=[range(TOKENS)]))
    np.testing.assert_array_equal(given, plain)


@pytest.mark.parametrize("sections", [[0, 0, 1, 2], [2, 1, 0, 1], [1, 1, 1, 1]])
def test_each_pair_reads_its_section_of_positions(tools: Any, backend: Backend, sections: list[int]) -> None:
    graph = layers(None, sections=np.array(sections, np.int32))
    both = executors(backend, graph, [15])
    groups = [[range(15)]]
    positions = np.random.RandomState(3).randint(0, 60, (4, TOKENS))
    agree(tools, both, tools.batch(range(TOKENS), groups=groups, positions=positions), 5e-5)
    plain = executors(backend, layers(None), [15])
    batch = tools.batch(range(TOKENS), groups=groups)
    np.testing.assert_array_equal(agree(tools, both, batch), agree(tools, plain, batch))
    most = max(sections)
    few = tools.batch(range(TOKENS), groups=groups, positions=positions[:most])
    with pytest.raises(ShapeError, match=rf"not {most + 1} sections of {TOKENS} rows|two-dimensional"):
        both[1].run(few, tools.go())


def test_a_failed_step_leaves_earlier_entries_as_they_were(tools: Any, backend: Backend) -> None:
    both = executors(backend, layers(6, None), [15, 15])
    groups = [[range(15)], [range(15)]]
    agree(tools, both, tools.batch(range(20), groups=groups))
    with pytest.raises(ShapeError):
        both[1].run(tools.batch([TOKENS], first=20, groups=groups), tools.go())
    with pytest.raises(Exception, match="cancelled"):
        both[1].run(tools.batch(range(5), first=20, groups=groups), np.ones(1, np.int32))
    agree(tools, both, tools.batch(range(20, 60), first=20, groups=groups))
