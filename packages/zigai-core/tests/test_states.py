"""States on the numpy backend: shared ones, recurrent ones of a plugin, given-up pages, checks of a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from zigai_core.contracts.batch import Batch, Pages, Slots
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import Cancelled, ContextOverflowError, PluginError, ShapeError
from zigai_core.contracts.graph import WANTED, Array, Graph, Operation, Step, Value, Weight
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Executor
from zigai_core.contracts.state import KVCache, Recurrent, State
from zigai_core.ops.operations import Attention, Embedding, Rope, Select
from zigai_core.ops.reference import NumpyBackend

RUN = np.zeros(1, np.int32)
WIDTH, COUNT = 8, 12
ROWS = np.random.RandomState(1).standard_normal((COUNT, WIDTH)).astype(np.float32)
X = Value("x", WIDTH)


@dataclass(frozen=True, eq=False)
class RunningSum(Operation):
    """A plugin's operation: the sum of a sequence's rows so far, kept in a recurrent state."""

    x: Value
    state: State

    def evaluate(self, step: Step) -> Array:
        x, memory = step[self.x], step.recurrent(self.state)
        out = np.empty_like(x)
        totals: dict[int, Array] = {}
        for row, sequence in enumerate(step.batch.sequences.tolist()):
            before = totals[sequence] if sequence in totals else memory.read(sequence)["sum"]
            totals[sequence] = out[row] = before + x[row]
            if row in memory.written():
                memory.write(row, {"sum": out[row]})
        return out


def executor_of(*operations: Operation, sizes: tuple[int, ...]) -> Executor:
    out = Value("out", operations[-1].output.width, WANTED)
    weight = Weight("rows", ROWS.shape)
    select = Select(out, operations[-1].output)
    graph = Graph((Embedding(X, weight), *operations, select), {"logits": out})
    tensors = {"rows": TensorInfo("rows", ROWS.shape, DTYPES["F32"], ROWS.view(np.uint8).reshape(-1))}
    return NumpyBackend().compile(graph, tensors, CompileOptions(context=16, page=4)).new_executor(sizes)


def rows_of(tokens: list[int], index: list[int], sequences: list[int], *groups: Pages | Slots) -> Batch:
    arrays = (np.array(given, np.int32) for given in (tokens, sequences, index, range(len(tokens))))
    return Batch(*arrays, groups)


def slots(reads: list[int], *writes: tuple[int, int]) -> Slots:
    return Slots(np.array(reads, np.int32), np.array(writes, np.int32).reshape(-1, 2))


def table(*pages: int) -> Pages:
    return Pages([np.array(pages, np.int32)])


SUM = RunningSum(Value("sum", WIDTH), X, State("memory", Recurrent({"sum": ((WIDTH,), "float32")})))


def test_an_operation_of_a_plugin_with_recurrent_state_runs() -> None:
    executor = executor_of(SUM, sizes=(4,))
    batch = rows_of([0, 5, 1, 2], [0, 0, 1, 2], [0, 1, 0, 0], slots([-1, -1], (2, 3), (3, 1), (1, 2)))
    total = executor.run(batch, RUN).rows("logits")
    np.testing.assert_allclose(total, [ROWS[0], ROWS[5], ROWS[:2].sum(0), ROWS[:3].sum(0)], rtol=1e-6)
    for slot, before in ((1, ROWS[:3].sum(0)), (3, ROWS[:2].sum(0)), (2, ROWS[5])):
        total = executor.run(rows_of([7], [3], [0], slots([slot])), RUN).rows("logits")
        np.testing.assert_allclose(total[0], before + ROWS[7], rtol=1e-6)
    executor.copy(0, [(2, 0)])
    total = executor.run(rows_of([7], [1], [0], slots([0])), RUN).rows("logits")
    np.testing.assert_allclose(total[0], ROWS[5] + ROWS[7], rtol=1e-6)


def test_a_step_that_is_stopped_changes_no_slot_that_is_read() -> None:
    executor = executor_of(SUM, sizes=(2,))
    executor.run(rows_of([0], [0], [0], slots([-1], (0, 0))), RUN)
    with pytest.raises(Cancelled):
        executor.run(rows_of([1], [1], [0], slots([0], (0, 1))), np.ones(1, np.int32))
    total = executor.run(rows_of([2], [1], [0], slots([0])), RUN).rows("logits")
    np.testing.assert_allclose(total[0], ROWS[0] + ROWS[2], rtol=1e-6)


def attention(name: str, state: State, *, window: int | None = None, key: Value | None = X) -> Attention:
    spec = state.spec
    assert isinstance(spec, KVCache)
    value = None if key is None or spec.values_in_keys else X
    sizes = (spec.kv_heads, spec.kv_heads, spec.key_dim, spec.value_dim, 0.5)
    operation = Attention(Value(name, spec.value_dim), X, key, value, state, *sizes, window=window)
    assert operation.fault() is None
    return operation


def test_a_second_operation_reads_the_state_that_the_first_has_written() -> None:
    state = State("cache", KVCache(1, WIDTH, WIDTH))
    batch = rows_of([3, 4, 5], [0, 1, 2], [0, 0, 0], table(1))
    both = executor_of(attention("a", state), attention("b", state, key=None), sizes=(2,))
    one = executor_of(attention("a", state), sizes=(2,))
    np.testing.assert_array_equal(both.run(batch, RUN).rows("logits"), one.run(batch, RUN).rows("logits"))


def test_values_may_be_the_beginning_of_the_keys() -> None:
    batch = rows_of([3, 4, 5], [0, 1, 2], [0, 0, 0], table(1))
    joined = executor_of(attention("a", State("c", KVCache(1, WIDTH, 5, values_in_keys=True))), sizes=(2,))
    apart = executor_of(attention("a", State("c", KVCache(1, WIDTH, WIDTH))), sizes=(2,))
    expected = apart.run(batch, RUN).rows("logits")[:, :5]
    np.testing.assert_array_equal(joined.run(batch, RUN).rows("logits"), expected)


def test_pages_behind_the_window_may_be_given_up() -> None:
    executor = executor_of(
        attention("a", State("c", KVCache(1, WIDTH, WIDTH, window=3)), window=3), sizes=(3,)
    )
    tokens = list(range(9))
    whole = executor.run(rows_of(tokens, tokens, [0] * 9, table(0, 1, 2)), RUN).rows("logits")
    last = executor.run(rows_of([9], [9], [0], table(-1, 1, 2)), RUN).rows("logits")
    executor.run(rows_of(tokens, tokens, [0] * 9, table(0, 1, 2)), RUN)
    kept = executor.run(rows_of([9], [9], [0], table(0, 1, 2)), RUN).rows("logits")
    np.testing.assert_array_equal(last, kept)
    assert len(whole) == 9
    with pytest.raises(PluginError, match="index 7 is behind the window and was given up"):
        executor.run(rows_of([9], [9], [0], table(-1, -1, 2)), RUN)


def test_rope_reads_the_section_of_each_pair() -> None:
    frequencies = np.array([1.0, 0.5, 0.25, 0.125], np.float32)
    sections = np.array([0, 1, 1, 0], np.int32)
    turned = Rope(Value("turned", WIDTH), X, WIDTH, frequencies, "half", sections=sections)
    assert turned.fault() is None
    executor = executor_of(turned, sizes=())
    batch = rows_of([3, 4], [0, 1], [0, 0])
    positions = np.array([[5, 6], [9, 2]], np.int32)
    out = executor.run(replace(batch, positions=positions), RUN).rows("logits")
    for row in range(2):
        angles = positions[sections, row] * frequencies
        a, b = ROWS[3 + row, :4], ROWS[3 + row, 4:]
        expected = [*(a * np.cos(angles) - b * np.sin(angles)), *(a * np.sin(angles) + b * np.cos(angles))]
        np.testing.assert_allclose(out[row], expected, rtol=1e-5)
    assert replace(turned, sections=np.array([0, 1], np.int32)).fault() is not None
    assert "-1 is negative" in str(replace(turned, sections=np.array([0, 1, -1, 0], np.int32)).fault())


GOOD = rows_of([3, 4, 5], [0, 1, 0], [0, 0, 1], Pages([np.array([0], np.int32)] * 2))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"tokens": np.array([3, 4, 99], np.int32)}, ShapeError, r"token 99 is outside 0\.\.11"),
        ({"tokens": np.array([3, 4], np.int32)}, ShapeError, r"sequences must be int32 \[2\]"),
        ({"tokens": np.array([3, 4, 5])}, ShapeError, "tokens must be int32"),
        ({"index": np.array([0, 2, 0], np.int32)}, ShapeError, "row 1 does not follow"),
        ({"index": np.array([15, 16, 0], np.int32)}, ContextOverflowError, "index 16 in a context of 16"),
        ({"output_rows": np.array([3], np.int32)}, ShapeError, "output row 3 is outside"),
        ({"sequences": np.array([0, 0, -1], np.int32)}, ShapeError, "sequence -1 is negative"),
        ({"groups": ()}, ShapeError, "0 groups, but the graph has 1"),
        ({"groups": (slots([0, 0]),)}, ShapeError, "slots for KV caches"),
        ({"groups": (table(0),)}, ShapeError, "sequence 1 has 0 pages for 1 tokens"),
        ({"groups": (Pages([np.array([7], np.int32)] * 2),)}, ShapeError, "page 7 is outside"),
        ({"positions": np.zeros((1, 2), np.int32)}, ShapeError, r"positions must be \[sections, 3\]"),
        ({"ends": np.array([9, 2, 1], np.int32)}, ShapeError, "sequence 0 has 1 pages for 9 tokens"),
    ],
)
def test_an_invalid_batch_is_refused(change: dict[str, object], error: type[Exception], text: str) -> None:
    executor = executor_of(attention("a", State("c", KVCache(1, WIDTH, WIDTH))), sizes=(3,))
    executor.run(GOOD, RUN)
    with pytest.raises(error, match=text):
        executor.run(replace(GOOD, **change), RUN)  # type: ignore[arg-type]


def test_a_graph_of_whole_sequences_refuses_parts_of_one() -> None:
    encoder = Attention(Value("a", WIDTH), X, X, X, None, 1, 1, WIDTH, WIDTH, 1.0)
    executor = executor_of(encoder, sizes=())
    batch = rows_of([3, 4], [0, 1], [0, 0])
    executor.run(batch, RUN)
    for part in (replace(batch, index=batch.index + 1), replace(batch, ends=np.array([3, 3], np.int32))):
        with pytest.raises(ShapeError, match="needs each sequence whole"):
            executor.run(part, RUN)
