"""The conformance suite for whole graphs: those of the suite, and any that a plugin's author gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np

from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Program
from zigai_core.ops.reference import NumpyBackend
from zigai_core.ops.traced import traced
from zigai_core.testing.backend.base import KINDS, Conformance, served
from zigai_core.testing.backend.graphs import GraphCase, suite_graphs
from zigai_core.testing.schedules.schedules import in_chunks, schedules_for, whole_prefill


class GraphsConformance(Conformance):
    """Tests of each graph of `graphs`. Extend that to test graphs of your own:

    >>> def graphs(self):                                          # doctest: +SKIP
    ...     yield from super().graphs()
    ...     yield GraphCase("mine", graph, tensors, tokens)

    A graph may hold operations of a plugin. If the backend lacks one, it must say so: see `served`.
    """

    options: ClassVar[CompileOptions] = CompileOptions(context=64, batch=48, page=16)
    """What the graphs are compiled for."""
    relative: ClassVar[float] = 1e-5
    """A relative tolerance added to the absolute ones, because some values of a graph are large."""

    def graphs(self) -> Iterable[GraphCase]:
        """Returns the graphs to test, each with its tensors and at least 18 tokens, at most 40."""
        return suite_graphs()

    def test_every_value_of_a_graph_agrees_with_the_reference(self) -> None:
        for case, graph, program in self._programs(trace=True):
            reference = NumpyBackend().compile(graph, case.tensors, self.options)
            expected = rows_of(reference, case)
            actual = rows_of(program, case)
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
        for case, graph, program in self._programs():
            expected = whole_prefill(program, case.tokens)
            tolerance = self._tolerance(program)
            for schedule, compute in schedules_for(graph)[0].items():
                for name, rows in compute(program, case.tokens).items():
                    np.testing.assert_allclose(
                        rows,
                        expected[name],
                        rtol=self.relative if tolerance else 0,
                        atol=tolerance,
                        err_msg=f"{case.name}: {name}, {schedule}",
                    )

    def test_every_operation_of_core_is_in_a_graph(self) -> None:
        held = {type(operation) for case in self.graphs() for operation in case.graph}
        lacking = sorted(kind.__name__ for kind in KINDS - held)
        assert not lacking, f"no graph of the suite has the operations {', '.join(lacking)}"

    def test_what_a_backend_lacks_is_named_and_refused(self) -> None:
        refused: set[str] = set()
        for case in self.graphs():
            refused |= self._served(case, case.graph)[1]
        unknown = self.unsupported - {kind.__name__ for kind in KINDS}
        assert not unknown, f"unsupported names no operations of core: {sorted(unknown)}"
        wrong = self.unsupported - refused
        assert not wrong, f"the backend compiles what it is said not to support: {sorted(wrong)}"

    def _programs(self, *, trace: bool = False, **options: Any) -> Iterator[tuple[GraphCase, Graph, Program]]:
        """Yields the graphs that the backend serves, with their programs.

        `trace`: every value is an output. `options` replace some of the class's. Raises `SkipTest` if the
        backend serves no graph.
        """
        lacked: set[str] = set()
        none = True
        for case in self.graphs():
            graph = traced(case.graph) if trace else case.graph
            program, names = self._served(case, graph, **options)
            lacked |= names
            if program is not None:
                none = False
                yield case, graph, program
        if none:
            raise SkipTest(f"the backend supports no graph: it lacks {', '.join(sorted(lacked))}")

    def _served(self, case: GraphCase, graph: Graph, **changes: Any) -> tuple[Program | None, frozenset[str]]:
        options = replace(self.options, **changes)
        return served(self.backend, graph, case.tensors, options, case.name, self.unsupported)


def rows_of(program: Program, case: GraphCase) -> Mapping[str, Array]:
    """Returns the outputs for the tokens of a case, in steps of several sizes if the graph allows these."""
    sizes = [len(case.tokens)] if program.graph.whole_sequences else [11, 1, 8]
    return in_chunks(program, case.tokens, sizes)
