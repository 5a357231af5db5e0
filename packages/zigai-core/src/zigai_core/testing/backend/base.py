"""Base class and helpers of the conformance suites for backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.reference import NumpyBackend


class Conformance:
    """Base class of a suite of tests for a backend.

    `tolerance` is the maximum difference between outputs of the backend for the same tokens, computed in
    different steps or batches; 0 requires bitwise equality. `reference_tolerance` is the maximum difference
    from the numpy reference, for float32 weights. Both are absolute.
    """

    backend: ClassVar[Backend]
    tolerance: ClassVar[float] = 1e-5
    reference_tolerance: ClassVar[float] = 1e-3

    def _close(self, a: Array, b: Array) -> None:
        np.testing.assert_allclose(a, b, rtol=0, atol=self.tolerance)

    def _outputs_agree(
        self, graph: Graph, tensors: Mapping[str, TensorInfo], tokens: Sequence[int], case: str = ""
    ) -> Mapping[str, Array]:
        """Returns the outputs for each of `tokens`, after comparing them with the reference's."""
        expected = outputs_of(NumpyBackend(), graph, tensors, tokens)
        actual = outputs_of(self.backend, graph, tensors, tokens)
        assert set(actual) == set(expected), case
        for name, rows in expected.items():
            assert actual[name].shape == rows.shape, f"{case} {name}"
            np.testing.assert_allclose(
                actual[name], rows, rtol=0, atol=self.reference_tolerance, err_msg=f"{case} {name}"
            )
        return actual


def outputs_of(
    backend: Backend, graph: Graph, tensors: Mapping[str, TensorInfo], tokens: Sequence[int]
) -> Mapping[str, Array]:
    """Returns the outputs of a graph on `backend` for each of `tokens`, as one sequence."""
    at = DirectRunner(backend.compile(graph, tensors, CompileOptions(context=128, batch=32, page=16)))
    return at.run([Part(at.new_sequence(), tokens, want_all=True)])[0]
