"""The conformance suite for whole graphs: those of the suite, and any that a plugin's author gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Graph, Operation
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend, Program
from zigai_core.ops import operations
from zigai_core.ops.reference import NumpyBackend
from zigai_core.ops.traced import traced
from zigai_core.testing.backend.base import Conformance
from zigai_core.testing.backend.graphs import GraphCase, suite_graphs
from zigai_core.testing.schedules.schedules import in_chunks, schedules_for, whole_prefill

KINDS = frozenset(
    kind
    for kind in vars(operations).values()
    if isinstance(kind, type) and issubclass(kind, Operation) and kind.__name__ in operations.__all__
)
"""Core's operations, of which each must be in a graph."""


class GraphsConformance(Conformance):
    """Tests of each graph of `graphs`. Extend that to test graphs of your own:

    >>> def graphs(self):                                          # doctest: +SKIP
    ...     yield from super().graphs()
    ...     yield GraphCase("mine", graph, tensors, tokens)

    A graph may hold operations of a plugin. If the backend lacks one, it must say so: see `_served`.
    `unsupported` are the names of those operations of core that the backend does not have; it is empty for a
    complete backend.
    """

    unsupported: ClassVar[frozenset[str]] = frozenset()
    options: ClassVar[CompileOptions] = CompileOptions(context=64, batch=48, page=16)
    """What the graphs are compiled for."""
    relative: ClassVar[float] = 1e-5
    """A relative tolerance added to the absolute ones, because some values of a graph are large."""

    def graphs(self) -> Iterable[GraphCase]:
        """Returns the graphs to test, each with its tensors and at least 18 tokens, at most 40."""
        return suite_graphs()

    def test_every_value_of_a_graph_agrees_with_the_reference(self) -> None:
        for case in self.graphs():
            graph = traced(case.graph)
            program = self._served(graph, case.tensors, case.name)
            if program is None:
                continue
            reference = NumpyBackend().compile(graph, case.tensors, self.options)
            sizes = [len(case.tokens)] if graph.whole_sequences else [11, 1, 8]
            expected = in_chunks(reference, case.tokens, sizes)
            actual = in_chunks(program, case.tokens, sizes)
            assert actual.keys() == expected.keys(), case.name
            for name, rows in expected.items():
                where = f"{case.name}: {name}"
                assert actual[name].dtype == rows.dtype, where
                assert actual[name].shape == rows.shape, where
                assert np.isfinite(actual[name]).all(), f"{where} has numbers that are not finite"
                np.testing.assert_allclose(
                    actual[name], rows, rtol=self.relative, atol=self.reference_tolerance, err_msg=where
                )

    def test_a_graph_gives_the_same_by_every_schedule(self) -> None:
        for case in self.graphs():
            program = self._served(case.graph, case.tensors, case.name)
            if program is None:
                continue
            expected = whole_prefill(program, case.tokens)
            relative = self.relative if self.tolerance else 0
            for schedule, compute in schedules_for(case.graph)[0].items():
                for name, rows in compute(program, case.tokens).items():
                    np.testing.assert_allclose(
                        rows,
                        expected[name],
                        rtol=relative,
                        atol=self.tolerance,
                        err_msg=f"{case.name}: {name}, {schedule}",
                    )

    def test_every_operation_of_core_is_in_a_graph(self) -> None:
        held = {type(operation) for case in self.graphs() for operation in case.graph}
        lacking = sorted(kind.__name__ for kind in KINDS - held)
        assert not lacking, f"no graph of the suite has the operations {', '.join(lacking)}"

    def test_what_a_backend_lacks_is_named_and_refused(self) -> None:
        refused = set()
        for case in self.graphs():
            if self._served(case.graph, case.tensors, case.name) is None:
                refused |= {type(operation).__name__ for operation in case.graph}
        unknown = self.unsupported - {kind.__name__ for kind in KINDS}
        assert not unknown, f"unsupported names no operations of core: {sorted(unknown)}"
        wrong = self.unsupported - refused
        assert not wrong, f"the backend compiles what it is said not to support: {sorted(wrong)}"

    def _served(self, graph: Graph, tensors: Mapping[str, TensorInfo], case: str) -> Program | None:
        """Returns the compiled program; None if the backend lacks an operation, and says so.

        It says so if `missing` has a line with the name of an operation of the graph that is not core's, or
        is among `unsupported`, and `compile` raises `UnsupportedError` with all lines.
        """
        return served(self.backend, graph, tensors, self.options, case, self.unsupported)


def served(
    backend: Backend,
    graph: Graph,
    tensors: Mapping[str, TensorInfo],
    options: CompileOptions,
    case: str,
    unsupported: frozenset[str] = frozenset(),
) -> Program | None:
    """Returns the compiled program; None if the backend refuses it as the contract demands."""
    missing = backend.missing(graph, tensors)
    if not missing:
        try:
            return backend.compile(graph, tensors, options)
        except UnsupportedError as error:
            raise AssertionError(f"{case}: missing is empty, but compile refuses: {error}") from error
    allowed = unsupported | {type(op).__name__ for op in graph if type(op) not in KINDS}
    present = {type(operation).__name__ for operation in graph}
    for line in missing:
        named = [name for name in allowed & present if name in line]
        assert named, f"{case}: the backend lacks {line!r}, which is not among {sorted(allowed)}"
    try:
        backend.compile(graph, tensors, options)
    except UnsupportedError as error:
        for line in missing:
            assert line in str(error), f"{case}: compile does not name {line!r}: {error}"
        return None
    raise AssertionError(f"{case}: compile accepts a graph for which missing says {list(missing)}")
