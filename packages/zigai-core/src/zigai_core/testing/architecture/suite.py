"""The conformance suite for architectures, as a class of tests to inherit from.

>>> class TestMine(ArchitectureConformance):                                # doctest: +SKIP
...     oracles = Path(__file__).parent / "oracles"

The folder holds an oracle (`zigai_core.testing.oracles`) for each variant of the architecture: tied and
untied heads, with and without a window, and so on. `oracle` in the signature of a test stands for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar
from unittest import SkipTest

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend, Program
from zigai_core.ops.operations import Rope
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.architecture.inputs import InputsConformance
from zigai_core.testing.architecture.pairing import with_adjacent_pairs
from zigai_core.testing.divergence import kl_divergence
from zigai_core.testing.oracles.location import first_difference
from zigai_core.testing.oracles.oracle import Oracle
from zigai_core.testing.oracles.strength import difference, strength
from zigai_core.testing.schedules.schedules import schedules_for, whole_prefill

DIVERGENCE = {"F32": 1e-5, "F16": 1e-4, "BF16": 1e-4, "Q8_0": 5e-3}
"""By storage type of matrices, the largest median of the KL divergence, in nats, of a backend from numpy.

The cache is F16. With Q8_0 a backend may round the inputs of products to 8 bits, too, after which a row may
use other experts: the median passes over such rows, the largest difference would not.
"""


class ArchitectureConformance(InputsConformance):
    """Tests of the graphs of an architecture, or of a family of them.

    Set `oracles`; for `architectures`, `tolerance` and `without_effect` see `InputsConformance`.
    `backend_tolerance` is the largest difference between another backend and the oracle, for float32 weights
    and cache, and `divergence` that for other types: see `DIVERGENCE`.

    `unlike_llama_cpp` and `llama_cpp_tolerance`: see `LlamaCppConformance`.
    """

    backend_tolerance: ClassVar[float] = 1e-3
    llama_cpp_tolerance: ClassVar[float] = 1e-3
    unlike_llama_cpp: ClassVar[Mapping[str, str]] = {}
    divergence: ClassVar[Mapping[str, float]] = DIVERGENCE

    def test_outputs_are_those_of_the_oracle(self, oracle: Oracle) -> None:
        graph = self.build(oracle.model)
        outputs = whole_prefill(self.compile(NumpyBackend(), graph, oracle.model.tensors), oracle.tokens)
        worst = difference(outputs, oracle.outputs)
        assert worst <= self.tolerance, (
            f"{oracle.model.name}: outputs differ by up to {worst:.2g} from {oracle.source}; "
            f"{first_difference(oracle, graph)}"
        )

    def test_every_mutation_of_the_graph_is_noticed(self, oracle: Oracle) -> None:
        found = strength(oracle, self.build(oracle.model), tolerance=self.tolerance)
        assert not found.survived, (
            f"{oracle.model.name}: the oracle {found}: it cannot tell the model from others that differ from "
            "it in one of these. Record it with other options, larger weights or a longer text:\n"
            + "\n".join(found.survived)
        )
        assert found.total > len(oracle.model.tensors)

    def test_the_way_in_which_a_sequence_is_computed_changes_nothing(self, oracle: Oracle) -> None:
        graph = self.build(oracle.model)
        for backend in (NumpyBackend(), *self._others(graph, oracle.model.tensors)):
            program = self.compile(backend, graph, oracle.model.tensors)
            expected = whole_prefill(program, oracle.tokens)
            tolerance = 0.0 if program.batch_invariant else self.tolerance
            for name, schedule in schedules_for(graph)[0].items():
                worst = difference(schedule(program, oracle.tokens), expected)
                assert worst <= tolerance, f"{backend.name}: {name}: outputs differ by up to {worst:.2g}"

    def test_other_backends_agree_with_numpy_or_say_what_they_lack(self, oracle: Oracle) -> None:
        graph, tensors = self.build(oracle.model), oracle.model.tensors
        backends = self._others(graph, tensors)
        for backend in backends:
            program = self.compile(backend, graph, tensors)
            worst = difference(whole_prefill(program, oracle.tokens), oracle.outputs)
            assert worst <= self.backend_tolerance, f"{backend.name}: outputs differ by up to {worst:.2g}"
            for dtype, limit in self.divergence.items():
                stored = rounded(graph, tensors, dtype)
                expected = whole_prefill(self.compile(NumpyBackend(), graph, stored), oracle.tokens)
                found = whole_prefill(self.compile(backend, graph, stored, "F16"), oracle.tokens)
                for name, rows in expected.items():
                    median = float(np.median(_divergence(name, rows, found[name])))
                    case = f"{backend.name}: {dtype} weights, F16 cache: {name}"
                    assert median <= limit, f"{case}: median divergence {median:.2g}"
        if not backends:
            raise SkipTest("no other backend that has all operations of the graph is installed")

    def test_the_context_changes_no_output_within_it(self, oracle: Oracle) -> None:
        trained = oracle.model.hyperparameters.integer("context_length", 4096)
        for context in (len(oracle.tokens), trained):
            graph = self.build(oracle.model, context=context)
            outputs = self._outputs(oracle, graph)
            assert difference(outputs, oracle.outputs) <= self.tolerance, f"context of {context}"

    def test_pairs_of_rope_are_those_of_the_files_conventions(self, oracle: Oracle) -> None:
        graph = self.build(oracle.model)
        if not any(isinstance(operation, Rope) for operation in graph):
            raise SkipTest("the graph has no RoPE")
        adjacent = with_adjacent_pairs(oracle.model, graph)
        outputs = self._outputs(oracle, self.build(adjacent), adjacent.tensors)
        worst = difference(outputs, oracle.outputs)
        assert worst <= self.tolerance, (
            f"stored with adjacent pairs the outputs differ by up to {worst:.2g}: give RoPE the pairing of "
            "model.conventions.rope_pairing"
        )

    def compile(
        self, backend: Backend, graph: Graph, tensors: Mapping[str, TensorInfo], kv_dtype: str = "F32"
    ) -> Program:
        """Returns a program for a context of 128 tokens in steps of 64, with one thread."""
        options = CompileOptions(context=128, batch=64, page=16, kv_dtype=kv_dtype, threads=1)
        return backend.compile(graph, tensors, options)

    def _others(self, graph: Graph, tensors: Mapping[str, TensorInfo]) -> list[Backend]:
        """The installed backends except numpy that have all operations; asserts that the rest refuse."""
        found = []
        for backend in [*self.backends()][1:]:
            missing = backend.missing(graph, tensors)
            if not missing:
                found.append(backend)
                continue
            try:
                self.compile(backend, graph, tensors)
            except UnsupportedError as error:
                assert missing[0] in str(error), f"{backend.name}: {error}"
            else:
                raise AssertionError(f"{backend.name} compiles a graph for which it lacks {missing[0]}")
        return found

    def backends(self) -> Iterator[Backend]:
        """Yields the numpy backend, then all others that are installed."""
        yield NumpyBackend()
        for name in self.plugins().backends:
            if name != "numpy":
                yield self.plugins().backends.get(name)()


def _divergence(name: str, expected: Array, found: Array) -> NDArray[np.float64]:
    """The KL divergence of each row of logits; of other outputs, 1 minus the cosine."""
    if name == "logits":
        return kl_divergence(expected, found)
    size = np.linalg.norm(expected, axis=-1) * np.linalg.norm(found, axis=-1)
    return np.asarray(1 - (expected * found).sum(axis=-1) / size, np.float64)


def rounded(graph: Graph, tensors: Mapping[str, TensorInfo], dtype: str) -> dict[str, TensorInfo]:
    """Returns the tensors with matrices stored as `dtype`, those whose rows are whole blocks of it."""
    kind = DTYPES[dtype]
    used = {weight.name: weight for weight in graph.weights}
    found = dict(tensors)
    for name, tensor in tensors.items():
        if name in used and len(used[name].shape) > 1 and tensor.shape[-1] % kind.block_size == 0:
            found[name] = TensorInfo(name, tensor.shape, kind, kind.from_float32(tensor.to_float32()))
    return found
