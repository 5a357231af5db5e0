"""The conformance suite for backends passes on the reference, and finds faults that are planted in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
from faulty_backends import Backend, Lacking, by_count, computing
from planted_faults import (
    CACHE,
    FAULTS,
    GRAPHS,
    IGNORED,
    LACKS,
    RECURRENT,
    SCHEDULES,
    SINGLES,
    SUM,
    THREADS,
    TOGETHER,
    WITHOUT_A_BACKEND,
    A,
)

from zigai_core.contracts.errors import Cancelled, UnsupportedError
from zigai_core.contracts.graph import Array, Operation, Step, Value
from zigai_core.ops.operations import Linear
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend import BackendConformance, any_graph, stopping
from zigai_core.testing.backend.graphs import GraphCase, recurrent_graph, recurrent_tensors, suite_graphs


class TestNumpyWithAGraphOfMine(BackendConformance):
    """The whole suite on the reference, with one graph more, as a plugin's author would give it."""

    backend = NumpyBackend()

    def graphs(self) -> Iterator[GraphCase]:
        yield from super().graphs()
        tensors = recurrent_tensors()
        yield GraphCase("mine", recurrent_graph(tensors), tensors, list(range(18)))


TESTS = [name for name in dir(BackendConformance) if name.startswith("test_")]


def failure(test: str, backend: Any, **attributes: Any) -> BaseException | None:
    """How a test of the suite fails, or is skipped; other errors are none that it means to find."""
    suite = type("Suite", (BackendConformance,), {"backend": backend, **attributes})()
    try:
        getattr(suite, test)()
    except (AssertionError, Cancelled, SkipTest) as error:
        return error
    return None


@pytest.mark.parametrize(
    ("backend", "test"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
def test_each_fault_is_found_by_the_test_meant_for_it(
    backend: NumpyBackend, test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "TURNS", 3)  # what ends no step is not tried twenty times
    assert test in TESTS
    assert isinstance(failure(test, backend), AssertionError | Cancelled)


def test_every_test_of_the_suite_has_a_planted_fault() -> None:
    assert {*TESTS} == {test for _, _, test in FAULTS} | {WITHOUT_A_BACKEND}


def test_values_that_differ_by_a_bit_pass_if_equal_bits_are_not_claimed() -> None:
    for test in (SINGLES, TOGETHER):
        assert failure(test, computing(Linear, by_count(2e-7))) is None


@pytest.mark.parametrize("test", [name for name in TESTS if "slot" in name or "checkpoint" in name] + [LACKS])
def test_without_recurrent_states_tests_of_slots_are_skipped(test: str) -> None:
    found = failure(test, Lacking(SUM | RECURRENT), unsupported=RECURRENT)
    assert found is None if test == LACKS else isinstance(found, SkipTest)
    assert test == LACKS or all(name in str(found) for name in RECURRENT)


COUNTLESS = {SCHEDULES, THREADS, "test_chunks_agree_with_the_reference"}
"""Tests that take long, and fail as others do."""


@pytest.mark.parametrize(
    "names",
    [{"Experts", "Route", "LayerNorm"}, {"SoftCap", "Pool"}],
    ids=lambda names: " ".join(sorted(names)),
)
def test_a_backend_passes_if_it_declares_the_operations_of_core_that_it_lacks(names: set[str]) -> None:
    backend, declared = Lacking(frozenset(names)), frozenset(names)
    found = {test: failure(test, backend, unsupported=declared) for test in TESTS if test not in COUNTLESS}
    skipped = {test: str(error) for test, error in found.items() if isinstance(error, SkipTest)}
    assert {test: error for test, error in found.items() if error is not None and test not in skipped} == {}
    assert skipped
    assert all(any(name in text for name in names) for text in skipped.values())
    assert GRAPHS not in skipped
    assert failure(LACKS, backend) is not None


def test_only_tests_that_compile_nothing_pass_on_a_backend_without_operations() -> None:
    names = frozenset(kind.__name__ for kind in any_graph.KINDS)
    backend = Lacking(names | SUM)
    passed = {test for test in TESTS if failure(test, backend, unsupported=names) is None}
    assert passed == {LACKS, IGNORED, WITHOUT_A_BACKEND}


def test_an_operation_that_is_declared_but_served_or_unknown_is_an_error() -> None:
    def lacks(*names: str) -> str:
        return str(failure(LACKS, Lacking(frozenset({"Experts"})), unsupported=frozenset(names)))

    assert lacks("Experts") == "None"
    assert "['Route']" in lacks("Experts", "Route")
    assert "no operations of core: ['Expert']" in lacks("Experts", "Expert")


def test_a_type_of_the_cache_that_is_not_declared_must_be_refused() -> None:
    class WithoutQ8(Backend):
        def prepare(self, graph: Any, options: Any) -> Any:
            if options.kv_dtype == "Q8_0":
                raise UnsupportedError("no Q8_0 cache")
            return graph, options

    declared = {"kv_dtypes": ("F32", "F16")}
    for test in (CACHE, f"test_every_type_of_the_cache_{A}"):
        assert "Q8_0" in str(failure(test, WithoutQ8()))
        assert failure(test, WithoutQ8(), **declared) is None
    assert "nothing was raised" in str(failure(CACHE, NumpyBackend(), **declared))


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
    assert len(any_graph.KINDS) == 33


def test_names_of_graphs_are_unique() -> None:
    names = [case.name for case in suite_graphs()]
    assert len(set(names)) == len(names)
