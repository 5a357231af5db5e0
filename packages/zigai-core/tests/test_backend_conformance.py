"""The conformance suite for backends passes on the reference, and finds faults that are planted in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from zigai_core.contracts.batch import Batch, Pages, Slots
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import Cancelled, UnsupportedError
from zigai_core.contracts.graph import Array, Graph, Operation, Step, Value
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Progress
from zigai_core.ops.operations import Attention, Experts, LayerNorm, Linear, RMSNorm, Rope
from zigai_core.ops.reference import NumpyBackend, NumpyExecutor, NumpyOutputs, NumpyProgram
from zigai_core.testing.backend import BackendConformance, any_graph
from zigai_core.testing.backend.graphs import GraphCase, recurrent_graph, recurrent_tensors, suite_graphs


class TestNumpyWithAGraphOfMine(BackendConformance):
    """The whole suite on the reference, with one graph more, as a plugin's author would give it."""

    backend = NumpyBackend()

    def graphs(self) -> Iterator[GraphCase]:
        yield from super().graphs()
        tensors = recurrent_tensors()
        yield GraphCase("mine", recurrent_graph(tensors), tensors, list(range(18)))


TESTS = [name for name in dir(BackendConformance) if name.startswith("test_")]


def failure(test: str, backend: Any, **attributes: Any) -> Exception | None:
    """How a test of the suite fails for a backend; other errors are none that it means to find."""
    suite = type("Suite", (BackendConformance,), {"backend": backend, **attributes})()
    try:
        getattr(suite, test)()
    except (AssertionError, Cancelled) as error:
        return error
    return None


# Faults of executors


class Executor(NumpyExecutor):
    """A sound one: `change` changes the batch of each step."""

    def change(self, batch: Batch) -> Batch:
        return batch

    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        return super().run(self.change(batch), stop)

    def slots(self, group: int) -> Iterator[Array]:
        for memory in self._groups[group]:
            yield from memory.arrays.values()


def pages_of(batch: Batch, change: Callable[[list[Any]], list[Any]]) -> Batch:
    groups = (Pages(change(list(g.tables))) if isinstance(g, Pages) else g for g in batch.groups)
    return replace(batch, groups=tuple(groups))


def slots_of(batch: Batch, change: Callable[[Slots], Slots]) -> Batch:
    return replace(batch, groups=tuple(change(g) if isinstance(g, Slots) else g for g in batch.groups))


class IgnoresTheStopCell(Executor):
    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        return super().run(batch, np.zeros(1, np.int32))


class LooksAtTheCellAtTheBeginning(Executor):
    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        if stop[0]:
            raise Cancelled("at the beginning")
        return super().run(batch, np.zeros(1, np.int32))


class StaysCancelled(Executor):
    cancelled = False

    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        self.cancelled |= bool(stop[0])
        return super().run(batch, np.array([self.cancelled], np.int32))


class WritesBeforeItIsCancelled(Executor):
    """A cancelled step has written over what was readable."""

    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        if stop[0]:
            for group in range(len(self.sizes)):
                for array in self.slots(group):
                    array[...] = 1
        return super().run(batch, stop)


class WritesSlotsInPlace(Executor):
    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        outputs = super().run(batch, stop)
        for number, group in enumerate(batch.groups):
            if isinstance(group, Slots):
                for row, slot in group.writes.tolist():
                    read = group.reads[batch.sequences[row]]
                    for array in self.slots(number):
                        array[read if read >= 0 else slot] = array[slot]
        return outputs


class KeepsTheLastStateAlone(Executor):
    def change(self, batch: Batch) -> Batch:
        def last(group: Slots) -> Slots:
            rows = [
                int(np.flatnonzero(batch.sequences == batch.sequences[row])[-1]) for row in group.writes[:, 0]
            ]
            return Slots(group.reads, np.stack([np.array(rows, np.int32), group.writes[:, 1]], axis=1))

        return slots_of(batch, lambda group: last(group) if len(group.writes) else group)


class BeginsWithWhatTheSlotHolds(Executor):
    def change(self, batch: Batch) -> Batch:
        return slots_of(batch, lambda group: Slots(np.maximum(group.reads, 0), group.writes))


class ReadsASlotOnce(Executor):
    """Of forks, the first one finds its state."""

    def change(self, batch: Batch) -> Batch:
        def once(group: Slots) -> Slots:
            reads = group.reads.copy()
            for place in range(1, len(reads)):
                if reads[place] in reads[:place]:
                    reads[place] = -1
            return Slots(reads, group.writes)

        return slots_of(batch, once)


class RoundsStatesToFloat16(Executor):
    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        outputs = super().run(batch, stop)
        for number, group in enumerate(batch.groups):
            for array in self.slots(number) if isinstance(group, Slots) else ():
                if array.dtype == np.float32:
                    array[...] = array.astype(np.float16)
        return outputs


class CopiesAtTheSameTime(Executor):
    def copy(self, group: int, pairs: Sequence[tuple[int, int]]) -> None:
        super().copy(group, [])
        for array in self.slots(group):
            before = array.copy()
            for source, target in pairs:
                array[target] = before[source]


class CopiesAnything(Executor):
    def copy(self, group: int, pairs: Sequence[tuple[int, int]]) -> None:
        inside = [pair for pair in pairs if group == 0 and min(pair) >= 0 and max(pair) < self.sizes[0]]
        super().copy(0, inside)


class CopiesNothing(Executor):
    def copy(self, group: int, pairs: Sequence[tuple[int, int]]) -> None:
        super().copy(group, [])


class ReadsAnotherSequencesPage(Executor):
    """The last sequence of a step finds the first one's first page in place of its own."""

    def change(self, batch: Batch) -> Batch:
        def swap(tables: list[Any]) -> list[Any]:
            return [*tables[:-1], np.concatenate([tables[0][:1], tables[-1][1:]])]

        return pages_of(batch, swap)


class TakesPagesForNeighbours(Executor):
    def change(self, batch: Batch) -> Batch:
        def row(table: Any) -> Any:
            first = int(table[0]) if len(table) else 0
            return (first + np.arange(len(table), dtype=np.int32)) % max(self.sizes)

        return pages_of(batch, lambda tables: [row(table) for table in tables])


class SortsOutputRows(Executor):
    def change(self, batch: Batch) -> Batch:
        rows = batch.output_rows
        sound = rows.dtype == np.int32 and rows.ndim == 1
        return replace(batch, output_rows=np.sort(rows) if sound else rows)


class IgnoresEnds(Executor):
    def change(self, batch: Batch) -> Batch:
        return batch if self._program.graph.whole_sequences else replace(batch, ends=None)


class IgnoresPositions(Executor):
    def change(self, batch: Batch) -> Batch:
        return replace(batch, positions=None)


class TakesAnyToken(Executor):
    def change(self, batch: Batch) -> Batch:
        return replace(batch, tokens=batch.tokens % np.int32(self._program.graph.token_limit))


class GoesOnInAFork(Executor):
    def _check_process(self) -> None:
        pass


class GivesFloat64(Executor):
    def run(self, batch: Batch, stop: Any) -> NumpyOutputs:
        outputs = super().run(batch, stop)
        return NumpyOutputs({name: rows.astype(float) for name, rows in outputs._outputs.items()})  # type: ignore[misc]


class Program(NumpyProgram):
    executor: type[NumpyExecutor]

    def new_executor(self, sizes: Sequence[int]) -> NumpyExecutor:
        super().new_executor(sizes)
        return self.executor(self, tuple(sizes))


@dataclass
class With(NumpyBackend):
    """The reference backend with a faulty executor."""

    executor: type[NumpyExecutor]

    def compile(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        options: CompileOptions,
        progress: Progress | None = None,
    ) -> NumpyProgram:
        sound = super().compile(graph, weights, options, progress)
        made = Program(graph, sound._weights, sound._kept, options)
        made.executor = self.executor
        return made


# Faults of operations


@dataclass
class Replacing(NumpyBackend):
    """The reference backend, which computes other operations than those that are asked for."""

    change: Callable[[Any], Operation]

    def compile(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        options: CompileOptions,
        progress: Progress | None = None,
    ) -> NumpyProgram:
        changed = replace(graph, operations=tuple(self.change(operation) for operation in graph))
        return super().compile(changed, weights, options, progress)


def attention_with(**changes: Any) -> Replacing:
    """Attention with other attributes where it has these."""

    def change(operation: Any) -> Operation:
        if not isinstance(operation, Attention):
            return operation  # type: ignore[no-any-return]
        new = {
            name: value(getattr(operation, name))
            for name, value in changes.items()
            if getattr(operation, name) is not None
        }
        return replace(operation, **new)

    return Replacing(change)


def kinds_with(*kinds: type[Operation], **changes: Any) -> Replacing:
    return Replacing(
        lambda operation: replace(operation, **changes) if isinstance(operation, kinds) else operation
    )


@dataclass(frozen=True, eq=False)
class InfiniteLinear(Linear):
    """Values before the output are infinite, and made finite again by what follows."""

    def evaluate(self, step: Step) -> Array:
        y = super().evaluate(step)
        y[0, 0] = np.inf
        return y


def infinite(operation: Any) -> Operation:
    return (
        InfiniteLinear(operation.output, operation.x, operation.weight)
        if type(operation) is Linear
        else operation
    )


class SaysNothing(NumpyBackend):
    """Has no recurrent states, and says so too late."""

    lines: ClassVar[Sequence[str]] = ()

    def missing(self, graph: Graph, weights: Mapping[str, TensorInfo]) -> Sequence[str]:
        return self.lines if any(group.recurrent for group in graph.groups) else ()

    def compile(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        options: CompileOptions,
        progress: Progress | None = None,
    ) -> NumpyProgram:
        if any(group.recurrent for group in graph.groups):
            raise UnsupportedError("; ".join(["no recurrent states", *self.lines]))
        return super().compile(graph, weights, options, progress)


class NamesNoOperation(SaysNothing):
    lines = ("something",)


class NamesIt(SaysNothing):
    """What a backend without recurrent states must do."""

    lines = ("operation DecayingSum (memory)",)


class NamesItAndCompiles(NamesIt):
    def compile(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        options: CompileOptions,
        progress: Progress | None = None,
    ) -> NumpyProgram:
        return NumpyBackend().compile(graph, weights, options, progress)


class LacksExperts(NumpyBackend):
    def missing(self, graph: Graph, weights: Mapping[str, TensorInfo]) -> Sequence[str]:
        return ["operation Experts"] if any(isinstance(op, Experts) for op in graph) else []


class TakesAnyOptions(NumpyBackend):
    def compile(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        options: CompileOptions,
        progress: Progress | None = None,
    ) -> NumpyProgram:
        return super().compile(graph, weights, replace(options, kv_dtype="F32"), progress)


class PlansMore(NumpyBackend):
    def compile(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        options: CompileOptions,
        progress: Progress | None = None,
    ) -> NumpyProgram:
        return super().compile(graph, weights, replace(options, batch=options.batch + 1), progress)


GRAPHS = "test_every_value_of_a_graph_agrees_with_the_reference"
SCHEDULES = "test_a_graph_gives_the_same_by_every_schedule"
LACKS = "test_what_a_backend_lacks_is_named_and_refused"
BATCHES = "test_an_invalid_batch_is_refused_and_the_executor_stays_usable"
STOPPED = "test_after_a_cancelled_step_the_sequence_goes_on_with_the_same_numbers"

FAULTS: list[tuple[str, NumpyBackend, str]] = [
    ("ignores the stop cell", With(IgnoresTheStopCell), "test_a_stop_cell_that_is_set_cancels_the_step"),
    (
        "looks at the stop cell once",
        With(LooksAtTheCellAtTheBeginning),
        "test_another_thread_ends_a_step_and_the_sequence_goes_on_with_the_same_numbers",
    ),
    ("stays cancelled", With(StaysCancelled), STOPPED),
    ("writes before it is cancelled", With(WritesBeforeItIsCancelled), STOPPED),
    (
        "writes slots before it is cancelled",
        With(WritesBeforeItIsCancelled),
        "test_a_step_that_fails_or_is_cancelled_changes_no_slot_that_was_readable",
    ),
    (
        "writes a slot in place",
        With(WritesSlotsInPlace),
        "test_a_slot_that_is_read_or_not_named_is_unchanged",
    ),
    (
        "a checkpoint has the last state",
        With(KeepsTheLastStateAlone),
        "test_each_checkpoint_in_a_chunk_has_the_state_after_its_row",
    ),
    (
        "begins with what the slot holds",
        With(BeginsWithWhatTheSlotHolds),
        "test_a_sequence_without_tokens_has_zeros",
    ),
    ("only one fork reads a slot", With(ReadsASlotOnce), "test_forks_read_one_slot"),
    (
        "rounds states to float16",
        With(RoundsStatesToFloat16),
        "test_each_checkpoint_in_a_chunk_has_the_state_after_its_row",
    ),
    ("copies at the same time", With(CopiesAtTheSameTime), "test_slots_are_copied_whole"),
    ("copies anything", With(CopiesAnything), "test_a_copy_of_what_does_not_exist_is_refused"),
    ("copies nothing", With(CopiesNothing), SCHEDULES),
    ("reads another sequence's page", With(ReadsAnotherSequencesPage), SCHEDULES),
    ("takes pages for neighbours", With(TakesPagesForNeighbours), "test_pages_behind_a_window_are_not_read"),
    ("sorts output rows", With(SortsOutputRows), SCHEDULES),
    ("ignores ends", With(IgnoresEnds), "test_rows_may_see_later_ones"),
    (
        "ignores positions",
        With(IgnoresPositions),
        "test_positions_may_differ_from_the_place_in_the_sequence",
    ),
    ("takes any token", With(TakesAnyToken), BATCHES),
    ("plans more rows than were asked for", PlansMore(), BATCHES),
    ("goes on in a fork", With(GoesOnInAFork), "test_a_forked_process_is_refused"),
    ("gives float64", With(GivesFloat64), GRAPHS),
    ("a window too large by one", attention_with(window=lambda w: w + 1), GRAPHS),
    ("a window too small by one", attention_with(window=lambda w: w - 1), GRAPHS),
    ("ignores chunks", attention_with(chunk=lambda _: None), GRAPHS),
    ("ignores sinks", attention_with(sinks=lambda _: None), GRAPHS),
    ("ignores slopes", attention_with(slopes=lambda _: None), GRAPHS),
    ("ignores soft caps", attention_with(soft_cap=lambda _: None), GRAPHS),
    ("forgets a bias", kinds_with(Linear, bias=None), GRAPHS),
    ("forgets the bias of LayerNorm", kinds_with(LayerNorm, bias=None), GRAPHS),
    ("ignores the epsilon of RMSNorm", kinds_with(RMSNorm, epsilon=0.0), GRAPHS),
    ("ignores the epsilon of LayerNorm", kinds_with(LayerNorm, epsilon=0.0), GRAPHS),
    ("ignores the magnitude of RoPE", kinds_with(Rope, magnitude=1.0), GRAPHS),
    ("pairs rows for RoPE by halves", kinds_with(Rope, pairing="half"), GRAPHS),
    ("ignores the activation of experts", kinds_with(Experts, activation="silu"), GRAPHS),
    ("has values that are not finite", Replacing(infinite), GRAPHS),
    ("does not say what is missing", SaysNothing(), LACKS),
    ("names no operation", NamesNoOperation(), LACKS),
    ("compiles what is missing", NamesItAndCompiles(), LACKS),
    ("lacks an operation of core", LacksExperts(), LACKS),
    ("takes any options", TakesAnyOptions(), "test_options_out_of_range_are_refused"),
]
"""What is wrong, a backend with that fault, and the test that must find it."""


@pytest.mark.parametrize(
    ("backend", "test"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
def test_each_fault_is_found_by_the_test_meant_for_it(backend: NumpyBackend, test: str) -> None:
    assert test in TESTS
    assert failure(test, backend) is not None


@pytest.mark.parametrize("test", [name for name in TESTS if "slot" in name or "checkpoint" in name] + [LACKS])
def test_a_backend_without_recurrent_states_passes_if_it_names_what_it_lacks(test: str) -> None:
    assert failure(test, NamesIt()) is None


def test_a_backend_may_declare_an_operation_of_core_that_it_lacks() -> None:
    class Refuses(LacksExperts):
        def compile(self, graph: Graph, weights: Any, options: Any, progress: Any = None) -> NumpyProgram:
            if self.missing(graph, weights):
                raise UnsupportedError("operation Experts")
            return super().compile(graph, weights, options, progress)

    declared = {"unsupported": frozenset({"Experts"})}
    assert failure(LACKS, Refuses()) is not None
    assert failure(LACKS, Refuses(), **declared) is None
    assert failure(GRAPHS, Refuses(), **declared) is None
    assert "said not to support" in str(failure(LACKS, NumpyBackend(), **declared))
    assert "no operations of core" in str(failure(LACKS, NumpyBackend(), unsupported=frozenset({"Expert"})))


def test_an_operation_of_core_without_a_graph_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, eq=False)
    class Sine(Operation):
        x: Value

        def evaluate(self, step: Step) -> Array:
            return np.sin(step[self.x])

    name = "test_every_operation_of_core_is_in_a_graph"
    assert failure(name, NumpyBackend()) is None
    monkeypatch.setattr(any_graph, "KINDS", any_graph.KINDS | {Sine})
    assert "the operations Sine" in str(failure(name, NumpyBackend()))


def test_every_operation_of_core_has_a_numpy_definition_that_is_counted() -> None:
    assert {kind.__name__ for kind in any_graph.KINDS} >= {
        "Attention",
        "Route",
        "Select",
        "SoftCap",
        "Columns",
    }
    assert len(any_graph.KINDS) == 17


def test_names_of_graphs_are_unique() -> None:
    names = [case.name for case in suite_graphs()]
    assert len(set(names)) == len(names)
