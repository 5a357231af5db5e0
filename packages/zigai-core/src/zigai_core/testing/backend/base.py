"""Base class of the conformance suites for backends."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar
from unittest import SkipTest

import numpy as np

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Array, Graph, Operation
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend, Program
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops import operations
from zigai_core.ops.reference import NumpyBackend

KINDS = frozenset(
    kind
    for kind in vars(operations).values()
    if isinstance(kind, type) and issubclass(kind, Operation) and kind.__name__ in operations.__all__
)
"""Core's operations."""

OPTIONS = CompileOptions(context=128, batch=32, page=16)
"""What graphs are compiled for if a test does not need other sizes."""


class Conformance:
    """Base class of a suite of tests for a backend.

    `tolerance` is the maximum difference between outputs of the backend for the same tokens, computed in
    different steps or batches; 0 requires bitwise equality, as does a program that is `batch_invariant`.
    `reference_tolerance` is the maximum difference from the numpy reference, for float32 weights. Both are
    absolute. `unsupported` are the names of those operations of core that the backend does not have; it is
    empty for a complete backend.

    A test whose graph has such an operation, or one of a plugin that the backend lacks, asks that it is named
    and refused, and then raises `unittest.SkipTest` with the reason.
    """

    backend: ClassVar[Backend]
    tolerance: ClassVar[float] = 1e-5
    reference_tolerance: ClassVar[float] = 1e-3
    unsupported: ClassVar[frozenset[str]] = frozenset()

    def _compile(
        self,
        graph: Graph,
        tensors: Mapping[str, TensorInfo],
        options: CompileOptions = OPTIONS,
        case: str = "the graph",
    ) -> Program:
        """Returns the program of a graph. Raises `SkipTest` if the backend lacks an operation, as it may."""
        program, lacked = served(self.backend, graph, tensors, options, case, self.unsupported)
        if program is None:
            raise SkipTest(f"the backend does not support {', '.join(sorted(lacked))}")
        return program

    def _runner(
        self,
        graph: Graph,
        tensors: Mapping[str, TensorInfo],
        *,
        sequences: int = 1,
        options: CompileOptions = OPTIONS,
        case: str = "the graph",
    ) -> DirectRunner:
        """Returns a runner of a graph on the backend; see `_compile`."""
        return DirectRunner(self._compile(graph, tensors, options, case), sequences)

    def _close(self, a: Array, b: Array, program: Program) -> None:
        """Asserts that two ways to compute the same with a program agree."""
        np.testing.assert_allclose(a, b, rtol=0, atol=self._tolerance(program))

    def _tolerance(self, program: Program) -> float:
        return 0 if program.batch_invariant else self.tolerance

    def _outputs_agree(
        self, graph: Graph, tensors: Mapping[str, TensorInfo], tokens: Sequence[int], case: str = "the graph"
    ) -> Mapping[str, Array]:
        """Returns the outputs for each of `tokens`, after comparing them with the reference's."""
        actual = outputs_of(self._compile(graph, tensors, case=case), tokens)
        expected = outputs_of(NumpyBackend().compile(graph, tensors, OPTIONS), tokens)
        assert set(actual) == set(expected), case
        for name, rows in expected.items():
            assert actual[name].shape == rows.shape, f"{case} {name}"
            np.testing.assert_allclose(
                actual[name], rows, rtol=0, atol=self.reference_tolerance, err_msg=f"{case} {name}"
            )
        return actual


def outputs_of(program: Program, tokens: Sequence[int]) -> Mapping[str, Array]:
    """Returns the outputs of a program for each of `tokens`, as one sequence."""
    at = DirectRunner(program)
    return at.run([Part(at.new_sequence(), tokens, want_all=True)])[0]


def served(
    backend: Backend,
    graph: Graph,
    tensors: Mapping[str, TensorInfo],
    options: CompileOptions,
    case: str,
    unsupported: frozenset[str] = frozenset(),
) -> tuple[Program | None, frozenset[str]]:
    """Returns the program of a graph, or None and the names of the operations that the backend lacks.

    A backend may lack operations that are not core's, and those that `unsupported` names. Then each line of
    `missing` must have the name of one, and `compile` must raise `UnsupportedError` with all lines; otherwise
    `AssertionError` is raised.
    """
    missing = backend.missing(graph, tensors)
    if not missing:
        try:
            return backend.compile(graph, tensors, options), frozenset()
        except UnsupportedError as error:
            raise AssertionError(f"{case}: missing is empty, but compile refuses: {error}") from error
    plugins = {type(operation).__name__ for operation in graph if type(operation) not in KINDS}
    allowed = plugins | (unsupported & {type(operation).__name__ for operation in graph})
    lacked: set[str] = set()
    for line in missing:
        named = allowed.intersection(re.findall(r"\w+", line))
        assert named, (
            f"{case}: the backend lacks {line!r}, which is not among {sorted(unsupported | plugins)}"
        )
        lacked |= named
    try:
        backend.compile(graph, tensors, options)
    except UnsupportedError as error:
        for line in missing:
            assert line in str(error), f"{case}: compile does not name {line!r}: {error}"
        return None, frozenset(lacked)
    raise AssertionError(f"{case}: compile accepts a graph for which missing says {list(missing)}")
