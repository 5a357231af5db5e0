"""The reference backend with a fault each, for the test of the conformance suite for backends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Array, Graph, Operation
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import ProgramReport, Progress
from zigai_core.ops.operations import Attention, PositionEmbedding, RMSNorm
from zigai_core.ops.reference import NumpyBackend, NumpyExecutor, NumpyProgram


class Backend(NumpyBackend):
    """A sound one: `prepare` changes the graph and the options, `finish` the program."""

    def prepare(self, graph: Graph, options: CompileOptions) -> tuple[Graph, CompileOptions]:
        return graph, options

    def finish(self, program: NumpyProgram) -> NumpyProgram:
        return program

    def compile(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        options: CompileOptions,
        progress: Progress | None = None,
    ) -> NumpyProgram:
        return self.finish(super().compile(*self._prepared(graph, weights, options), progress))

    def _prepared(
        self, graph: Graph, weights: Mapping[str, TensorInfo], options: CompileOptions
    ) -> tuple[Graph, Mapping[str, TensorInfo], CompileOptions]:
        graph, options = self.prepare(graph, options)
        return graph, weights, options


# Faults of programs


class Program(NumpyProgram):
    executor: type[NumpyExecutor] = NumpyExecutor

    def new_executor(self, sizes: Sequence[int]) -> NumpyExecutor:
        super().new_executor(sizes)
        return self.executor(self, tuple(sizes))


@dataclass
class With(Backend):
    """Programs of another class, or executors."""

    executor: type[NumpyExecutor] = NumpyExecutor
    program: type[Program] = Program
    change: Callable[[Any], Operation] = lambda operation: operation

    def prepare(self, graph: Graph, options: CompileOptions) -> tuple[Graph, CompileOptions]:
        return replace(graph, operations=tuple(self.change(operation) for operation in graph)), options

    def finish(self, program: NumpyProgram) -> NumpyProgram:
        made = self.program(program.graph, program._weights, program._kept, program.options)
        made.executor = self.executor
        return made


class ClaimsEqualBits(Program):
    batch_invariant = True


class TakesAnySizes(Program):
    def new_executor(self, sizes: Sequence[int]) -> NumpyExecutor:
        return super().new_executor([max(1, size) for size in [*sizes, 1, 1]][: len(self.graph.groups)])


class HasOneSizeOfPages(Program):
    @property
    def state_bytes(self) -> tuple[int, ...]:
        return tuple(4096 for _ in self.graph.groups)


class ForgetsGroups(Program):
    @property
    def state_bytes(self) -> tuple[int, ...]:
        return super().state_bytes[:1]


def reporting(change: Callable[[Any], Any], *, keep: Callable[[Any], bool] = lambda _: True) -> With:
    """A report with changed entries, of which some are kept."""

    class Reports(Program):
        def report(self) -> ProgramReport:
            report = super().report()
            return replace(report, tensors=tuple(change(entry) for entry in report.tensors if keep(entry)))

    return With(program=Reports)


# Faults of operations


def replacing(change: Callable[[Any], Operation]) -> With:
    """Other operations than those that are asked for."""
    return With(change=change)


def attention_with(**changes: Callable[[Any], Any]) -> With:
    """Attention with other attributes where it has these."""

    def change(operation: Any) -> Operation:
        if not isinstance(operation, Attention):
            return operation  # type: ignore[no-any-return]
        present = {name: getattr(operation, name) for name in changes}
        new = {name: changes[name](value) for name, value in present.items() if value is not None}
        return replace(operation, **new)

    return replacing(change)


def kinds_with(*kinds: type[Operation], **changes: Any) -> With:
    return replacing(lambda each: replace(each, **changes) if isinstance(each, kinds) else each)


def computing(kind: type[Operation], change: Callable[[Any, Any, Array], Array], **keywords: Any) -> With:
    """Operations of a kind, each with what `change` makes of the operation, the step and its values."""

    class Faulty(kind):  # type: ignore[misc, valid-type]
        def evaluate(self, step: Any) -> Array:
            return change(self, step, super().evaluate(step))

    Faulty.__name__ = kind.__name__

    def faulty(operation: Any) -> Operation:
        if type(operation) is not kind:
            return operation  # type: ignore[no-any-return]
        made = object.__new__(Faulty)
        vars(made).update(vars(operation))
        return made

    return With(change=faulty, **keywords)


def as_it_was(operation: Any, step: Any, values: Array) -> Array:
    return step[operation.x]  # type: ignore[no-any-return]


def last_row(operation: Any, step: Any, values: Array) -> Array:
    rows: Array = step.weight_rows(operation.weight, step.batch.tokens % np.int32(operation.weight.shape[0]))
    return rows


class AnyPosition(PositionEmbedding):
    position_limit = None  # type: ignore[assignment]

    def evaluate(self, step: Any) -> Array:
        rows: Array = step.weight_rows(self.weight, step.batch.position() % np.int32(self.weight.shape[0]))
        return rows


def any_position(operation: Any) -> Operation:
    found = isinstance(operation, PositionEmbedding)
    return AnyPosition(operation.output, operation.weight) if found else operation


def without_groups(operation: Any) -> Operation:
    found = isinstance(operation, RMSNorm) and operation.groups is not None
    return replace(operation, groups=None) if found else operation


def other_part_first(operation: Any, _: Any, y: Array) -> Array:
    grouped = y.reshape(len(y), operation.groups, -1)
    left = operation.a.width // operation.groups
    return np.roll(grouped, -left, axis=2).reshape(y.shape)


def heads_in_reverse(operation: Any, _: Any, y: Array) -> Array:
    heads = operation.weight.shape[0]
    return y.reshape(len(y), heads, -1)[:, ::-1].reshape(y.shape)


def first_infinite(_: Any, __: Any, y: Array) -> Array:
    y[0, 0] = np.inf
    return y


def by_count(size: float) -> Callable[[Any, Any, Array], Array]:
    """Values that depend on the number of rows of the step."""
    return lambda _, __, y: y * np.float32(1 + size * (len(y) > 1))


def nothing_without_keys(operation: Any, _: Any, y: Array) -> Array:
    return y if operation.key is not None else y * 0


def in_place(operation: Any, step: Any, y: Array) -> Array:
    step[operation.x][...] = y
    return y


def of_the_first(_: Any, __: Any, y: Array) -> Array:
    return np.broadcast_to(y[:1], y.shape)


def values_of_key_width(operation: Any, _: Any, y: Array) -> Array:
    """Elements of a value beyond the width of keys are lost."""
    heads = y.reshape(len(y), operation.heads, -1).copy()
    heads[:, :, operation.key_dim :] = 0
    return heads.reshape(y.shape)


def causal_without_state(operation: Any, step: Any, y: Array) -> Array:
    batch = step.batch
    if operation.state is not None or batch.ends is None:
        return y
    step.batch = replace(batch, ends=None)
    try:
        return Attention.evaluate(operation, step)
    finally:
        step.batch = batch


# Faults of what is refused, missing and ignored


@dataclass
class Lacking(NumpyBackend):
    """Has no operations of these names. With `late`, `missing` does not say so; otherwise by `line`."""

    names: frozenset[str]
    line: str = "operation {}"
    late: bool = False
    compiles: bool = False

    def missing(self, graph: Graph, weights: Mapping[str, TensorInfo]) -> Sequence[str]:
        return () if self.late else self.lines(graph)

    def lines(self, graph: Graph) -> Sequence[str]:
        kinds = sorted({type(operation).__name__ for operation in graph} & self.names)
        return list(dict.fromkeys(self.line.format(name) for name in kinds))

    def compile(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        options: CompileOptions,
        progress: Progress | None = None,
    ) -> NumpyProgram:
        if (lines := self.lines(graph)) and not self.compiles:
            raise UnsupportedError("no kernel for " + "; ".join(lines))
        return NumpyBackend().compile(graph, weights, options, progress)


@dataclass
class Planning(Backend):
    """Compiles for changed options."""

    change: Callable[[CompileOptions], CompileOptions]

    def prepare(self, graph: Graph, options: CompileOptions) -> tuple[Graph, CompileOptions]:
        return graph, self.change(options)


@dataclass
class Ignoring(NumpyBackend):
    """Says that it ignores these options."""

    options: Mapping[str, str]

    def ignored(self, options: CompileOptions) -> Mapping[str, str]:
        return self.options
