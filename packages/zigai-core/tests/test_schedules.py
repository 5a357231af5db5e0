"""Schedules: on the reference all agree, and each finds the fault that it is meant for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.graph import Array, Graph, Operation, Step, Value
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Program
from zigai_core.contracts.state import Recurrent, State
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import Select
from zigai_core.ops.reference import NumpyBackend, NumpyExecutor, NumpyProgram
from zigai_core.testing.schedules.scattered import ScatteredRunner
from zigai_core.testing.schedules.schedules import SCHEDULES, in_chunks, schedules_for, whole_prefill

WIDTH, VOCABULARY, PAGE = 8, 30, 8
OPTIONS = CompileOptions(context=64, batch=48, page=PAGE)
TOKENS = np.random.RandomState(4).randint(0, VOCABULARY, 37).tolist()
TABLE = np.random.RandomState(1).standard_normal((VOCABULARY, WIDTH)).astype(np.float32)
TENSORS = {"t.weight": TensorInfo("t.weight", TABLE.shape, DTYPES["F32"], TABLE.view(np.uint8).reshape(-1))}


@dataclass(frozen=True, eq=False)
class Decay(Operation):
    """A decaying sum of a sequence's rows, in a recurrent state: `s = s / 2 + x`."""

    x: Value
    state: State

    def evaluate(self, step: Step) -> Array:
        x, memory = step[self.x], step.recurrent(self.state)
        out, sums = np.empty_like(x), {}
        for row, sequence in enumerate(step.batch.sequences.tolist()):
            before = sums[sequence] if sequence in sums else memory.read(sequence)["sum"]
            sums[sequence] = out[row] = before / 2 + x[row]
            self.keep(step, row, out)
        return out

    def keep(self, step: Step, row: int, out: Array) -> None:
        step.recurrent(self.state).write(row, {"sum": out[row]})


@dataclass(frozen=True, eq=False)
class Changed(Operation):
    """A value that `change` has changed, as a faulty operation would: `change(step, x, runs)`."""

    x: Value
    change: Callable[[Step, Array, list[int]], Array]
    runs: list[int] = field(default_factory=list)

    def evaluate(self, step: Step) -> Array:
        self.runs.append(int(step.batch.index[0]))
        return self.change(step, step[self.x].copy(), self.runs)


def graph_of(
    *,
    cache: bool = True,
    recurrent: bool = False,
    encoder: bool = False,
    change: Callable[[Step, Array, list[int]], Array] | None = None,
    decay: type[Decay] = Decay,
    select: type[Select] = Select,
) -> Graph:
    g = GraphBuilder(TENSORS)
    x = g.embedding("t", WIDTH)
    if change is not None:
        x = g.append(Changed(Value("changed", WIDTH), x, change))
    sizes: dict[str, Any] = {"heads": 2, "kv_heads": 2, "head_dim": WIDTH // 2}
    if cache or encoder:
        x = g.attention(x, x, x, state=None if encoder else "full", name="full", **sizes)
    if cache:
        x = g.attention(x, x, x, state="windowed", window=5, name="windowed", **sizes)
    if recurrent:
        x = g.append(decay(Value("decay", WIDTH), x, g.state("d", Recurrent({"sum": ((WIDTH,), "float32")}))))
    wanted = g.append(select(Value("wanted", WIDTH, "wanted"), x))
    g.output("hidden", wanted)
    g.output("logits", g.linear(wanted, "t", VOCABULARY, name="logits"))
    return g.finish()


def compiled(graph: Graph) -> NumpyProgram:
    return NumpyBackend().compile(graph, TENSORS, OPTIONS)


KINDS: dict[str, dict[str, bool]] = {
    "caches": {},
    "recurrent": {"cache": False, "recurrent": True},
    "both": {"recurrent": True},
    "encoder": {"cache": False, "encoder": True},
    "no state": {"cache": False},
}


def differing(program: Program, tokens: Sequence[int] = TOKENS) -> set[str]:
    """The schedules by which an output differs from that of the whole prefill, of all that apply."""
    expected = whole_prefill(program, tokens)
    applicable, _ = schedules_for(program.graph)
    found = set()
    for name, schedule in applicable.items():
        rows = schedule(program, tokens)
        assert set(rows) == set(expected)
        for output, values in rows.items():
            assert values.shape == expected[output].shape
            if not np.allclose(values, expected[output], rtol=0, atol=1e-4):
                found.add(name)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_all_schedules_agree_on_the_reference(kind: str) -> None:
    assert differing(compiled(graph_of(**KINDS[kind]))) == set()


def test_the_reference_rows_are_those_of_plain_loops() -> None:
    rows = whole_prefill(compiled(graph_of(cache=False, recurrent=True)), TOKENS)["hidden"]
    total = np.zeros(WIDTH)
    for token, row in zip(TOKENS, rows, strict=True):
        total = total / 2 + TABLE[token]
        np.testing.assert_allclose(row, total, rtol=0, atol=1e-5)


def test_schedules_that_do_not_apply_are_left_out_with_a_reason() -> None:
    for kind, names in (
        ("caches", set()),
        ("no state", set()),
        ("both", {"after truncation"}),
        ("recurrent", {"after truncation"}),
    ):
        applicable, left_out = schedules_for(graph_of(**KINDS[kind]))
        assert left_out.keys() == names and applicable.keys() | names == SCHEDULES.keys()
    applicable, left_out = schedules_for(graph_of(cache=False, encoder=True))
    assert "engine, together" in applicable and "whole in one step" in left_out["single steps"]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    ("tokens", "options", "text"),
    [
        ([1, 2, 3], OPTIONS, "at least 4 tokens, not 3"),
        (TOKENS[:8], OPTIONS, "8 of 8"),
        (TOKENS, CompileOptions(context=40, batch=48, page=8), "a context of at least 45"),
        (TOKENS, CompileOptions(context=64, batch=8, page=8), "a batch of at least 16"),
    ],
)
def test_a_program_that_is_too_small_is_refused(
    name: str, tokens: list[int], options: CompileOptions, text: str
) -> None:
    program = NumpyBackend().compile(graph_of(), TENSORS, options)
    with pytest.raises(ValueError, match=text):
        SCHEDULES[name](program, tokens)


# Planted faults


def by_place_in_the_chunk(step: Step, x: Array, _: list[int]) -> Array:
    rows = np.arange(len(x))
    firsts = {s: int(np.argmax(step.batch.sequences == s)) for s in set(step.batch.sequences.tolist())}
    return x * (1 + 0.1 * (rows - [firsts[s] for s in step.batch.sequences.tolist()])[:, None] % 4)


def only_in_single_rows(step: Step, x: Array, _: list[int]) -> Array:
    return x + (len(x) == 1)


def by_row_number(step: Step, x: Array, _: list[int]) -> Array:
    first = int(np.argmax(step.batch.sequences == step.batch.sequences[-1]))
    return x + 0.1 * first


def mixed_with_other_sequences(step: Step, x: Array, _: list[int]) -> Array:
    mean: Array = x.mean(axis=0)
    return x if len(set(step.batch.sequences.tolist())) == 1 else x * 0.5 + mean


def with_three_sequences(step: Step, x: Array, _: list[int]) -> Array:
    return x + (len(set(step.batch.sequences.tolist())) == 3)


def on_a_second_begin(step: Step, x: Array, runs: list[int]) -> Array:
    return x + (runs.count(0) > 1) * (step.batch.index[:, None] == 0)


def beginning_again_beside_another(step: Step, x: Array, runs: list[int]) -> Array:
    """Wrong only for a beginning beside a sequence that goes on, after steps that went on."""
    begins = (step.batch.index == 0) & (len(set(step.batch.sequences.tolist())) > 1) & (max(runs) > 0)
    return x + begins[:, None]


def one_row_after_a_whole_page(step: Step, x: Array, _: list[int]) -> Array:
    return x + (len(x) == 1 and step.batch.index[0] and step.batch.index[0] % PAGE == 0)


class Sorted(Select):
    def evaluate(self, step: Step) -> Array:
        return step[self.x][np.sort(step.batch.output_rows)]


class KeepsTheLast(Decay):
    """Writes the state of the sequence's last row wherever an earlier one is wanted."""

    def evaluate(self, step: Step) -> Array:
        out = super().evaluate(step)
        for row, _ in step.batch.groups[-1].writes.tolist():  # type: ignore[union-attr]
            own = np.flatnonzero(step.batch.sequences == step.batch.sequences[row])
            step.recurrent(self.state).write(row, {"sum": out[own[-1]]})
        return out


class InPlace(Decay):
    """Writes the slot that it reads, too."""

    def keep(self, step: Step, row: int, out: Array) -> None:
        super().keep(step, row, out)
        memory: Any = step.recurrent(self.state)
        read = memory._reads[step.batch.sequences[row]]
        if read >= 0:
            memory._memory.arrays["sum"][read] = out[row]


class FaultyProgram(NumpyProgram):
    executor: type[NumpyExecutor]

    def new_executor(self, sizes: Sequence[int]) -> NumpyExecutor:
        return self.executor(self, tuple(sizes))


class NoCopy(NumpyExecutor):
    def copy(self, group: int, pairs: Sequence[tuple[int, int]]) -> None:
        pass


class Moves(NumpyExecutor):
    def copy(self, group: int, pairs: Sequence[tuple[int, int]]) -> None:
        super().copy(group, pairs)
        for memory in self._groups[group]:
            for array in memory.arrays.values():
                for source, _ in pairs:
                    array[source] = 0


class HalfAPage(NumpyExecutor):
    def copy(self, group: int, pairs: Sequence[tuple[int, int]]) -> None:
        for memory in self._groups[group]:
            for array in memory.arrays.values():
                for source, target in pairs:
                    array[target, : PAGE // 2] = array[source, : PAGE // 2]


class WritesOnce(NumpyExecutor):
    """Does not write a key again at a place that has one."""

    def run(self, batch: Any, stop: Any) -> Any:
        before = [
            {k: a.copy() for k, a in memory.arrays.items()} for group in self._groups for memory in group
        ]
        out = super().run(batch, stop)
        memories = [memory for group in self._groups for memory in group]
        for arrays, memory in zip(before, memories, strict=True):
            for name, array in arrays.items():
                memory.arrays[name][array != 0] = array[array != 0]
        return out


def faulty(executor: type[NumpyExecutor], **kinds: Any) -> Program:
    program = compiled(graph_of(**kinds))
    made = FaultyProgram(program.graph, program._weights, program._kept, program.options)
    made.executor = executor
    return made


FAULTS: Mapping[str, tuple[Callable[[], Program], set[str]]] = {
    "the place in a chunk counts": (
        lambda: compiled(graph_of(change=by_place_in_the_chunk)),
        {"chunks", "single steps"},
    ),
    "a single row is computed in another way": (
        lambda: compiled(graph_of(change=only_in_single_rows)),
        {"single steps"},
    ),
    "the row number counts": (lambda: compiled(graph_of(change=by_row_number)), {"beside others"}),
    "other sequences count": (
        lambda: compiled(graph_of(change=mixed_with_other_sequences)),
        {"beside others"},
    ),
    "other sequences count, in an encoder": (
        lambda: compiled(graph_of(cache=False, encoder=True, change=mixed_with_other_sequences)),
        {"beside others", "engine, together"},
    ),
    "three sequences are too many": (
        lambda: compiled(graph_of(change=with_three_sequences)),
        {"engine, together"},
    ),
    "output rows are sorted": (lambda: compiled(graph_of(select=Sorted)), {"reversed outputs"}),
    "a second beginning differs": (
        lambda: compiled(graph_of(change=on_a_second_begin)),
        {"computed again"},
    ),
    "a beginning beside another sequence differs": (
        lambda: compiled(graph_of(change=beginning_again_beside_another)),
        {"engine, preempted"},
    ),
    "a row after a whole page differs": (
        lambda: compiled(graph_of(change=one_row_after_a_whole_page)),
        {"engine, found by prefix"},
    ),
    "a checkpoint has the last state": (
        lambda: compiled(graph_of(**KINDS["recurrent"], decay=KeepsTheLast)),
        {"after rejected drafts"},
    ),
    "a slot is written in place": (
        lambda: compiled(graph_of(**KINDS["recurrent"], decay=InPlace)),
        {"of a fork", "of a fork's origin"},
    ),
    "nothing is copied": (lambda: faulty(NoCopy), {"of a fork", "with a copied prefix"}),
    "copying moves": (lambda: faulty(Moves), {"of a fork's origin"}),
    "half a page is copied": (lambda: faulty(HalfAPage), {"with a copied prefix"}),
    "a key is written once": (
        lambda: faulty(WritesOnce),
        {"after truncation", "after rejected drafts", "computed again"},
    ),
}
"""By fault, a program that has it, and the schedules that must find it."""


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_by_the_schedule_meant_for_it(fault: str) -> None:
    make, meant = FAULTS[fault]
    found = differing(make())
    assert meant <= found, f"found by {sorted(found)}"


def test_every_schedule_finds_a_fault() -> None:
    meant = set().union(*(names for _, names in FAULTS.values()))
    assert meant | {"whole prefill"} == SCHEDULES.keys()  # the others are compared with this one


def test_pages_and_slots_of_neighbours_are_apart() -> None:
    at = ScatteredRunner(compiled(graph_of(recurrent=True)), 2)
    sequence = at.new_sequence()
    assert any((np.diff(table) != 1).any() for table in sequence.tables if len(table))
    at.step((sequence, TOKENS))
    read = list(sequence.slots)
    at.step((sequence, TOKENS[:1]))
    assert read != sequence.slots


def test_a_failed_step_leaves_a_sequence_as_it_was() -> None:
    program = compiled(graph_of(recurrent=True))
    at = ScatteredRunner(program, 1)
    sequence = at.new_sequence()
    at.step((sequence, TOKENS[:9]))
    for _ in range(2 * OPTIONS.batch):  # no slot is lost
        with pytest.raises(Exception, match="token 99"):
            at.step((sequence, [99]))
    rows = at.step((sequence, TOKENS[9:]))
    expected = in_chunks(program, TOKENS, [9, 48])
    np.testing.assert_allclose(rows["hidden"], expected["hidden"][9:], rtol=0, atol=1e-5)


def test_a_recurrent_state_is_not_truncated() -> None:
    at = ScatteredRunner(compiled(graph_of(recurrent=True)), 1)
    sequence = at.new_sequence()
    at.step((sequence, TOKENS[:9]))
    with pytest.raises(ValueError, match="a slot that holds it"):
        at.truncate(sequence, 4)
