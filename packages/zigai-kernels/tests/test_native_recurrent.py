"""Operations with a recurrent state, and the slots that hold it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.batch import Batch, Pages, Slots
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import Cancelled, ShapeError, UnsupportedError
from zigai_core.contracts.graph import Array, Graph, Value
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend, Executor, Program
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend.graphs import core_recurrent_graph, core_recurrent_tensors
from zigai_core.testing.schedules.schedules import schedules_for, whole_prefill
from zigai_kernels import NativeBackend, NativeProgram

TOKENS = 40
OPTIONS = CompileOptions(context=64, batch=48, page=8, threads=2)

Case = tuple[Graph, dict[str, TensorInfo]]


class Inputs:
    """A graph whose inputs are random rows: row i of each is token i's."""

    def __init__(self) -> None:
        self.random = np.random.RandomState(2)
        self.tensors: dict[str, TensorInfo] = {}
        self.g = GraphBuilder(self.tensors)

    def weight(self, name: str, values: Any) -> str:
        values = np.ascontiguousarray(values, np.float32)
        data = values.view(np.uint8).reshape(-1)
        self.tensors[name] = TensorInfo(name, values.shape, DTYPES["F32"], data)
        return name

    def normal(self, *shape: int) -> Any:
        return self.random.standard_normal(shape)

    def value(self, name: str, rows: Any) -> Value:
        self.weight(f"{name}.weight", rows)
        return self.g.embedding(name, rows.shape[1])

    def case(self, output: Value) -> Case:
        self.g.output("logits", self.g.select(output))
        return self.g.finish(), self.tensors


def convolution(channels: int, taps: int, *, bias: bool = True) -> Case:
    at = Inputs()
    at.weight("w.weight", at.normal(channels, taps))
    if bias:
        at.weight("w.bias", at.normal(channels))
    return at.case(at.g.short_conv(at.value("x", at.normal(TOKENS, channels)), "w", state="s"))


def delta(heads: int, key_heads: int, key_dim: int, value_dim: int, order: Any = "grouped") -> Case:
    at = Inputs()
    q, k = (at.value(name, at.normal(TOKENS, key_heads * key_dim) / key_dim**0.5) for name in "qk")
    v = at.value("v", at.normal(TOKENS, heads * value_dim))
    decay = at.value("decay", -np.abs(at.normal(TOKENS, heads)))
    beta = at.value("beta", 1 / (1 + np.exp(-at.normal(TOKENS, heads))))
    how: dict[str, Any] = {"heads": heads, "key_heads": key_heads, "scale": 0.6, "order": order}
    return at.case(at.g.gated_delta(q, k, v, decay, beta, state="s", name="y", **how))


def scan(heads: int, head_dim: int, groups: int, size: int, numbers: int = 1, *, direct: bool = True) -> Case:
    at = Inputs()
    x = at.value("x", at.normal(TOKENS, heads * head_dim))
    step = at.value("step", np.log1p(np.exp(at.normal(TOKENS, heads))))
    b, c = (at.value(name, at.normal(TOKENS, groups * size)) for name in "bc")
    a = at.weight("a", -np.exp(at.normal(heads, numbers)))
    d = at.weight("d", at.normal(heads)) if direct else None
    how: dict[str, Any] = {"a": a, "d": d, "heads": heads, "groups": groups}
    return at.case(at.g.selective_scan(x, step, b, c, state="s", name="y", **how))


CASES: Mapping[str, Case] = {
    "convolution of 1 channel": convolution(1, 2),
    "convolution without bias": convolution(37, 4, bias=False),
    "convolution of several blocks": convolution(600, 4),
    "convolution longer than a step": convolution(21, 13),
    "delta of one number": delta(1, 1, 1, 1),
    "delta of narrow heads": delta(6, 2, 5, 3),
    "delta, tiled": delta(6, 2, 5, 3, "tiled"),
    "delta of several blocks": delta(2, 1, 33, 150),
    "delta of whole vectors": delta(4, 4, 16, 64),
    "scan of one number": scan(1, 1, 1, 1),
    "scan of narrow heads": scan(6, 5, 3, 4),
    "scan of several blocks": scan(4, 50, 1, 9, direct=False),
    "scan of whole vectors": scan(8, 16, 2, 16),
    "scan with a number for each of a state": scan(6, 5, 3, 4, 4),
    "scan of channels": scan(150, 1, 1, 16, 16),
}


def slots(reads: Sequence[int], *writes: tuple[int, int]) -> Slots:
    return Slots(np.array(reads, np.int32), np.array(writes, np.int32).reshape(-1, 2))


def batch_of(
    rows: Sequence[tuple[int, int]], places: Slots | Pages, tokens: Sequence[int] | None = None
) -> Batch:
    """A batch of rows (sequence, index), whose tokens are their indices."""
    sequences, index = (np.array(numbers, np.int32) for numbers in zip(*rows, strict=True))
    given = index if tokens is None else np.array(tokens, np.int32)
    return Batch(given, sequences, index, np.arange(len(rows), dtype=np.int32), (places,))


def run(at: Executor, batch: Batch, stop: int = 0) -> Array:
    return at.run(batch, np.array([stop], np.int32)).rows("logits").copy()


def whole(at: Executor, count: int = TOKENS, read: int = -1, first: int = 0) -> Array:
    return run(at, batch_of([(0, first + i) for i in range(count)], slots([read])))


@pytest.mark.parametrize("name", CASES)
def test_a_recurrent_operation_agrees_with_its_definition(backend: Backend, name: str) -> None:
    graph, tensors = CASES[name]
    expected, actual = (
        whole(each.compile(graph, tensors, OPTIONS).new_executor([1])) for each in (NumpyBackend(), backend)
    )
    assert np.abs(expected).max() > 0.1
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual / scale, expected / scale, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_every_schedule_gives_the_same_bits(backend: Backend, name: str) -> None:
    graph, tensors = CASES[name]
    program = backend.compile(graph, tensors, OPTIONS)
    tokens = np.random.RandomState(1).permutation(TOKENS)[:30].tolist()
    expected = whole_prefill(program, tokens)["logits"]
    for schedule, compute in schedules_for(graph)[0].items():
        rows = compute(program, tokens)["logits"]
        np.testing.assert_array_equal(rows, expected, err_msg=schedule)


def test_all_numbers_of_threads_give_the_same_bits(backend: Backend) -> None:
    tensors = core_recurrent_tensors()
    graph = core_recurrent_graph(tensors)
    found = []
    for threads in (1, 2, 3):
        program = backend.compile(graph, tensors, replace(OPTIONS, threads=threads))
        at = program.new_executor([8])
        rows = [(0, i) for i in range(9)] + [(1, i) for i in range(5)]
        first = run(at, batch_of(rows, slots([-1, -1], (8, 1), (3, 0), (13, 2))))
        # Rows of three sequences in turns: two go on, and one is a fork of the first.
        turns = [(1, 9), (0, 5), (2, 9), (1, 10), (0, 6), (2, 10), (0, 7)]
        second = run(at, batch_of(turns, slots([2, 1, 1], (6, 5), (3, 4), (5, 6), (0, 7)), range(3, 10)))
        third = run(at, batch_of([(0, 8), (1, 11), (2, 11), (3, 10)], slots([5, 4, 6, 7])))
        found.append(np.concatenate([first, second, third]))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_rows_of_sequences_in_turns_are_computed_as_alone(backend: Backend) -> None:
    graph, tensors = CASES["delta of several blocks"]
    at = backend.compile(graph, tensors, OPTIONS).new_executor([4])
    alone = whole(at, 20)
    rows = [(1, 0), (0, 0), (1, 1), (2, 0), (0, 1), (1, 2), (0, 2)]
    mixed = run(at, batch_of(rows, slots([-1, -1, -1], (5, 0), (6, 3), (6, 1))))
    np.testing.assert_array_equal(mixed, alone[[index for _, index in rows]])
    for slot in (0, 1, 3):
        np.testing.assert_array_equal(whole(at, 2, slot, 3), alone[3:5])


def test_decays_at_the_ends_of_the_range_agree_with_the_definition(backend: Backend) -> None:
    at = Inputs()
    ends = np.array([-3e38, -1e4, -87.5, -86.0, -1e-8, 0.0, 0.5])
    heads = len(ends)
    decay = at.value("decay", np.repeat(ends[None], TOKENS, axis=0))
    q, k = (at.value(name, at.normal(TOKENS, heads * 3) / 3) for name in "qk")
    v, beta = at.value("v", at.normal(TOKENS, heads * 2)), at.value("beta", np.full((TOKENS, heads), 0.5))
    how: dict[str, Any] = {"heads": heads, "key_heads": heads, "scale": 1.0}
    graph, tensors = at.case(at.g.gated_delta(q, k, v, decay, beta, state="s", name="y", **how))
    expected, actual = (
        whole(each.compile(graph, tensors, OPTIONS).new_executor([1]), 12)
        for each in (NumpyBackend(), backend)
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def hybrid() -> Program:
    """A program of a KV cache and a recurrent state."""
    at = Inputs()
    x = at.value("x", at.normal(TOKENS, 8))
    y = at.g.attention(x, x, x, state="kv", heads=2, kv_heads=2, head_dim=4, name="attention")
    at.weight("w.weight", at.normal(8, 3))
    graph, tensors = at.case(at.g.short_conv(y, "w", state="s"))
    return NativeBackend().compile(graph, tensors, OPTIONS)


@pytest.mark.parametrize(
    ("reads", "writes", "text"),
    [
        ([0], [], "sequence 1 reads no slot: there are 1"),
        ([0, 3], [], "slot 3 is outside -1..2"),
        ([0, -2], [], "slot -2 is outside -1..2"),
        ([0, 0], [(1, 0)], "slot 0 is both read and written"),
        ([0, 0], [(0, 1), (1, 1)], "slot 1 is written twice"),
        ([0, 0], [(2, 1)], "row 2 is outside 0..1"),
        ([0, 0], [(-1, 1)], "row -1 is outside 0..1"),
        ([0, 0], [(1, 3)], "slot 3 is outside 0..2"),
        ([0, 0], [(1, -1)], "slot -1 is outside 0..2"),
    ],
)
def test_wrong_slots_are_refused_and_change_nothing(
    backend: Backend, reads: list[int], writes: list[tuple[int, int]], text: str
) -> None:
    graph, tensors = CASES["delta of narrow heads"]
    at = backend.compile(graph, tensors, OPTIONS).new_executor([3])
    run(at, batch_of([(0, 0), (0, 1)], slots([-1], (1, 0))))
    expected = whole(at, 3, 0, 2)
    with pytest.raises(ShapeError, match=text):
        run(at, batch_of([(0, 2), (1, 2)], slots(reads, *writes)))
    np.testing.assert_array_equal(whole(at, 3, 0, 2), expected)


def test_slots_of_other_types_and_shapes_are_refused() -> None:
    graph, tensors = CASES["delta of narrow heads"]
    at = NativeBackend().compile(graph, tensors, OPTIONS).new_executor([3])
    good = batch_of([(0, 0), (0, 1)], slots([-1], (1, 0)))
    pairs = np.array([(1, 0)], np.int32)
    wrong: list[Any] = [
        (Pages([np.array([0], np.int32)]), "a group of recurrent states needs Slots"),
        (Slots(np.array([-1]), pairs), "reads of slots must be an int32 array of 1 dim"),
        (Slots(np.array([[-1]], np.int32), pairs), "reads of slots must be an int32 array of 1 dim"),
        (Slots(np.array([-1], np.int32), pairs[0]), "writes of slots must be an int32 array of 2 dim"),
        (Slots(np.array([-1], np.int32), pairs.astype(float)), "writes of slots must be an int32 array"),
        (Slots(np.array([-1], np.int32), np.zeros((1, 3), np.int32)), r"shape \(1, 3\), not pairs"),
    ]
    for places, text in wrong:
        with pytest.raises(ShapeError, match=text):
            run(at, replace(good, groups=(places,)))
    run(at, good)


def test_pages_and_slots_are_beside_each_other_and_not_exchanged() -> None:
    program = hybrid()
    at = program.new_executor([3, 2])
    pages = Pages([np.array([2, 0, 1], np.int32)])
    rows = batch_of([(0, i) for i in range(20)], slots([-1]))
    expected = run(at, replace(rows, groups=(pages, slots([-1]))))
    first = batch_of([(0, i) for i in range(11)], slots([-1]))
    rest = batch_of([(0, i) for i in range(11, 20)], slots([-1]))
    run(at, replace(first, groups=(pages, slots([-1], (10, 1)))))
    at.copy(1, [(1, 0)])
    np.testing.assert_array_equal(run(at, replace(rest, groups=(pages, slots([0])))), expected[11:])
    for groups in ((slots([-1]), pages), (pages, pages), (slots([-1]), slots([-1]))):
        with pytest.raises(ShapeError, match=r"needs Pages|needs Slots"):
            run(at, replace(rows, groups=groups))
    with pytest.raises(ShapeError, match=r"from 0 to 2, but those of group 1 are 0\.\.1"):
        at.copy(1, [(0, 2)])


def test_a_slot_is_as_large_as_its_states(backend: Backend) -> None:
    tensors = core_recurrent_tensors()
    graph = core_recurrent_graph(tensors)
    program = backend.compile(graph, tensors, OPTIONS)
    (reference,) = NumpyBackend().compile(graph, tensors, OPTIONS).state_bytes
    (nbytes,) = program.state_bytes
    assert reference <= nbytes < 4 * reference  # columns are padded to whole vectors
    assert len(program.new_executor([5]).sizes) == 1


def test_a_step_that_is_stopped_inside_a_chunk_leaves_the_slot_that_it_read(backend: Backend) -> None:
    graph, tensors = scan(16, 1, 1, 512, 512)  # one chunk, which takes far longer than all other operations
    options = CompileOptions(context=1 << 15, batch=1 << 14, page=8, threads=1)
    at = backend.compile(graph, tensors, options).new_executor([3])
    count = 1 << 14
    index = np.arange(count, dtype=np.int32)
    zeros, last = np.zeros(count, np.int32), np.array([count - 1], np.int32)
    run(at, batch_of([(0, i) for i in range(5)], slots([-1], (4, 0), (2, 1))))
    expected = [whole(at, 3, slot, first) for slot, first in ((0, 5), (1, 3))]

    def step(slot: int, stop: Any) -> None:
        places = slots([0], (count - 1, slot))
        at.run(Batch(index % TOKENS, zeros, index + 5, last, (places,)), stop)

    began = time.perf_counter()
    step(2, np.zeros(1, np.int32))
    duration = time.perf_counter() - began
    # A first step takes longer than others, and a busy machine may set the cell when the step has ended.
    for share in np.linspace(0.6, 0.1, 20).tolist():
        stop = np.zeros(1, np.int32)
        timer = threading.Timer(share * duration, stop.__setitem__, [0, 1])
        timer.start()
        cancelled = False
        try:
            step(1, stop)
        except Cancelled:
            cancelled = True
        timer.join()
        np.testing.assert_array_equal(whole(at, 3, 0, 5), expected[0])
        # The step writes after its last row, so it has not come to that if the slot is unchanged.
        if cancelled and np.array_equal(whole(at, 3, 1, 3), expected[1]):
            return
        run(at, batch_of([(0, i) for i in range(3)], slots([-1], (2, 1))))
    raise AssertionError(f"a step of one chunk and {duration:.2f} s did not end when the stop cell was set")


def test_operations_that_share_a_recurrent_state_are_refused_by_name() -> None:
    at = Inputs()
    x = at.value("x", at.normal(TOKENS, 8))
    at.weight("w.weight", at.normal(8, 3))
    first = at.g.short_conv(x, "w", state="s")
    (state,) = at.g._states.values()
    graph, tensors = at.case(at.g.short_conv(first, "w", state=state, name="again"))
    with pytest.raises(ShapeError, match="ShortConv again: its state s is used by another operation"):
        NativeBackend().compile(graph, tensors, OPTIONS)


def test_a_batch_with_more_chunks_than_c_counts_is_refused() -> None:
    graph, tensors = scan(8192, 1, 8192, 1)
    with pytest.raises(UnsupportedError, match="y is too wide for a batch of 1048576; use a smaller one"):
        NativeBackend().compile(graph, tensors, CompileOptions(context=64, batch=2**20, page=8))


def test_sizes_that_c_cannot_compute_with_are_refused_by_name() -> None:
    for (graph, tensors), text in (
        (convolution(1, 5000), "ShortConv w: its filters have 5000 taps, more than 4096"),
        (delta(1, 1, 70000, 1), "GatedDelta y: its keys are 70000 wide, more than 65536"),
        (scan(1, 1, 1, 70000), "SelectiveScan y: its states have 70000 numbers a channel, more than 65536"),
    ):
        with pytest.raises(ShapeError, match=text):
            NativeBackend().compile(graph, tensors, OPTIONS)


def test_the_report_names_the_filters_and_decays() -> None:
    tensors = core_recurrent_tensors()
    program = NativeBackend().compile(core_recurrent_graph(tensors), tensors, OPTIONS)
    assert isinstance(program, NativeProgram)
    kernels = {entry.tensor: entry.kernel for entry in program.report().tensors}
    assert kernels["conv.weight"] == "filters"
    assert kernels["a.of heads"] == kernels["a.of states"] == "decays"
    assert kernels["d.of heads"] == "direct"
