"""The conformance suite for what backends, programs and executors say about themselves."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from math import prod

from zigai_core.contracts.options import KV_DTYPES, CompileOptions
from zigai_core.testing.backend.any_graph import GraphsConformance

MOST_BYTES = 16
"""Bytes of an element of a weight, at most: in two layouts as float32, each padded to twice its size."""


class ProgramsConformance(GraphsConformance):
    """Tests of `Backend.ignored`, `Program.state_bytes`, `Program.report` and `Executor.sizes`."""

    def test_each_group_of_states_has_a_size_in_bytes_that_grows_with_its_page(self) -> None:
        pages = (16, 32)
        by_page = [[(case, program) for case, _, program in self._programs(page=page)] for page in pages]
        for (case, small), (_, large) in zip(*by_page, strict=True):
            groups = small.graph.groups
            for program in (small, large):
                assert len(program.state_bytes) == len(groups), f"{case.name}: {program.state_bytes}"
            for group, few, many in zip(groups, small.state_bytes, large.state_bytes, strict=True):
                assert few > 0, f"{case.name}: {group} takes {few} bytes"
                grown = few == many if group.recurrent else few < many <= 2 * few
                assert grown, f"{case.name}: {few} bytes for {pages[0]} tokens, {many} for {pages[1]}"

    def test_the_report_has_an_entry_for_each_weight(self) -> None:
        for case, graph, program in self._programs():
            report = program.report()
            assert report.backend == self.backend.name, case.name
            assert report.summary, case.name
            assert len(report.summary.splitlines()) == 1, f"{case.name}: {report.summary!r}"
            found = Counter(entry.tensor for entry in report.tensors)
            assert found == Counter({weight.name for weight in graph.weights}), case.name
            elements = 0
            for entry in report.tensors:
                tensor = case.tensors[entry.tensor]
                assert entry.dtype == tensor.dtype.name, f"{case.name}: {entry}"
                assert entry.shape == tensor.shape, f"{case.name}: {entry}"
                assert all((entry.kernel, entry.instruction_set, entry.packing)), f"{case.name}: {entry}"
                assert entry.nbytes > 0, f"{case.name}: {entry}"
                elements += prod(entry.shape)
            total = sum(entry.nbytes for entry in report.tensors)
            # A backend may store less than the file does, but not less than one bit for each element.
            assert elements / 8 <= total <= elements * MOST_BYTES, (
                f"{case.name}: {total} bytes for {elements} elements"
            )

    def test_an_executor_has_the_sizes_that_were_asked_for(self) -> None:
        for case, graph, program in self._programs():
            sizes = [3 + place for place in range(len(graph.groups))]
            for given in (sizes, tuple(sizes)):
                assert program.new_executor(given).sizes == tuple(sizes), case.name

    def test_the_options_that_are_ignored_are_options_and_have_a_text(self) -> None:
        names = {field.name for field in fields(CompileOptions)}
        for kv_dtype in KV_DTYPES:
            for threads in (None, 1, 2):
                ignored = self.backend.ignored(replace(self.options, kv_dtype=kv_dtype, threads=threads))
                assert ignored.keys() <= names, f"{sorted(ignored)} are not all options"
                assert all(text.strip() for text in ignored.values()), str(dict(ignored))
