"""The conformance suite for architectures, as a class of tests to inherit from.

>>> class TestMine(ArchitectureConformance):                                # doctest: +SKIP
...     oracles = Path(__file__).parent / "oracles"

The folder holds an oracle (`zigai_core.testing.oracles`) for each variant of the architecture: tied and
untied heads, with and without a window, and so on. `oracle` in the signature of a test stands for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar
from unittest import SkipTest

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import IN_PLACE
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import TOKENS, Array, Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend, Program
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.operations import Experts, Inputs, Rope
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.architecture.base import CONTEXT
from zigai_core.testing.architecture.hyperparameters import HyperparametersConformance
from zigai_core.testing.architecture.pairing import with_adjacent_pairs
from zigai_core.testing.architecture.tensors import TensorsConformance
from zigai_core.testing.divergence import kl_divergence
from zigai_core.testing.oracles.comparison import difference, first_difference
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights
from zigai_core.testing.oracles.mutation_score import MutationScore
from zigai_core.testing.oracles.oracle import Oracle
from zigai_core.testing.schedules.schedules import schedules_for, whole_prefill

DIVERGENCE = {"F32": 1e-5, "F16": 1e-4, "BF16": 1e-4, "Q8_0": 5e-3}
"""By storage type of matrices, the largest mean of the KL divergence, in nats, of a backend from numpy.

The cache is F16. With Q8_0 a backend may round the inputs of products to 8 bits, too, after which a row may
use other experts: of a graph with experts it is the median, which passes over such rows.
"""


class ArchitectureConformance(TensorsConformance, HyperparametersConformance):
    """Tests of the graphs of an architecture, or of a family of them.

    Set `oracles`; for `architectures`, `tolerance` and `without_effect` see `ArchitectureSuite`.
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
        lacking = sorted({*graph.outputs} - {*oracle.outputs})
        assert not lacking, f"{oracle.model.name}: the oracle has no output {', '.join(lacking)}"
        program = self.compile(NumpyBackend(), graph, oracle.model.tensors)
        outputs = whole_prefill(program, oracle.tokens, oracle.types)
        worst = difference(outputs, oracle.outputs)
        assert worst <= self.tolerance, (
            f"{oracle.model.name}: outputs differ by up to {worst:.2g} from {oracle.source}; "
            f"{first_difference(oracle, graph)}"
        )

    def test_every_mutant_of_the_graph_is_killed(self, oracle: Oracle) -> None:
        score = MutationScore.of(oracle, self.build(oracle.model), tolerance=self.tolerance)
        assert not score.survived, (
            f"{oracle.model.name}: the oracle {score}: it cannot tell the model from others that differ from "
            "it in one of these. Record it with other options, larger weights or a longer text:\n"
            + "\n".join(score.survived)
        )
        assert score.total > len(oracle.model.tensors)

    def test_rows_given_in_place_of_tokens_are_those_of_the_tokens(self, oracle: Oracle) -> None:
        graph = self.build(oracle.model)
        if graph.input_width is None:
            raise SkipTest("the graph takes no embeddings")
        own = Evaluation(graph, float_weights(graph, oracle.model.tensors), oracle.tokens, oracle.types)
        taken = next(operation for operation in graph if isinstance(operation, Inputs))
        for backend in (NumpyBackend(), *self._others(graph, oracle.model.tensors)):
            program = self.compile(backend, graph, oracle.model.tensors)
            for every in (1, 2, 3):
                places = np.arange(len(oracle.tokens)) % every == 0
                tokens = np.where(places, IN_PLACE, oracle.tokens).tolist()
                at = DirectRunner(program)
                rows = own.values[taken.x.name][places]
                part = Part(at.new_sequence(), tokens, True, oracle.types or None, rows)
                worst = difference(at.run([part])[0], oracle.outputs)
                assert worst <= self.backend_tolerance, (
                    f"{backend.name}: with embeddings in place of every {every}. token, outputs differ by up "
                    f"to {worst:.2g} from those of the tokens: does the graph go on with what g.inputs "
                    "returns, and read tokens nowhere else?"
                )

    def test_an_oracle_has_a_text_of_several_types_if_the_graph_knows_them(self) -> None:
        for architecture, own in self._by_architecture().items():
            knowing = [each.model.name for each in own if self.build(each.model).type_limit > 1]
            assert not knowing or any(len({*each.types}) > 1 for each in own), (
                f"{architecture}: {knowing[0]} knows types of tokens, but in no oracle the text has several: "
                "record one with `pair`"
            )

    def test_the_way_in_which_a_sequence_is_computed_changes_nothing(self, oracle: Oracle) -> None:
        graph = self.build(oracle.model)
        for backend in (NumpyBackend(), *self._others(graph, oracle.model.tensors)):
            program = self.compile(backend, graph, oracle.model.tensors)
            expected = whole_prefill(program, oracle.tokens)
            tolerance = 0.0 if program.batch_invariant else self.tolerance
            for name, schedule in schedules_for(graph)[0].items():
                worst = difference(schedule(program, oracle.tokens), expected)
                assert worst <= tolerance, f"{backend.name}: {name}: outputs differ by up to {worst:.2g}"

    def test_storage_types_change_the_graph_in_nothing(self, oracle: Oracle) -> None:
        expected = self.build(oracle.model)
        for dtype in self.divergence:
            tensors = rounded(expected, oracle.model.tensors, dtype)
            graph = self._built(replace(oracle.model, tensors=tensors), "", f"with {dtype} weights")
            assert graph is not None, f"with {dtype} weights the architecture refuses the model"
            assert graph.describe() == expected.describe(), f"with {dtype} weights the graph is another"

    def test_other_backends_agree_with_numpy_or_say_what_they_lack(self, oracle: Oracle) -> None:
        graph, tensors = self.build(oracle.model), oracle.model.tensors
        backends = self._others(graph, tensors)
        for backend in backends:
            program = self.compile(backend, graph, tensors)
            worst = difference(whole_prefill(program, oracle.tokens, oracle.types), oracle.outputs)
            assert worst <= self.backend_tolerance, (
                f"{backend.name}: outputs differ by up to {worst:.2g} from {oracle.source}; "
                f"{self._blame(oracle)}"
            )
            for dtype, limit in self.divergence.items():
                stored = rounded(graph, tensors, dtype)
                by_numpy = self.compile(NumpyBackend(), graph, stored)
                by_other = self.compile(backend, graph, stored, "F16")
                expected = whole_prefill(by_numpy, oracle.tokens, oracle.types)
                found = whole_prefill(by_other, oracle.tokens, oracle.types)
                for name, rows in expected.items():
                    divergence = _divergence(name, rows, found[name])
                    # With experts, rounding may choose another one for a row, which a mean would show.
                    experts = any(isinstance(operation, Experts) for operation in graph)
                    middle = float(np.median(divergence) if experts else np.mean(divergence))
                    case = f"{backend.name}: {dtype} weights, F16 cache: {name}"
                    assert middle <= limit, f"{case}: divergence {middle:.2g}"
        if not backends:
            raise SkipTest("no other backend that has all operations of the graph is installed")

    def test_the_context_changes_factors_of_rope_alone(self, oracle: Oracle) -> None:
        hp = oracle.model.hyperparameters
        trained = hp.integer("context_length", 4096)
        original = hp.get("rope.scaling.original_context_length", 0)  # LongRoPE chooses its factors by it
        own = self._own_outputs(oracle)
        if "rope_factors_short.weight" in oracle.model.tensors:
            contexts = (original, original + 1, max(4 * original, 4096))
            short, long, longer = (_turns(self.build(oracle.model, context=each)) for each in contexts)
            assert short != long, (
                f"contexts of {original} and {original + 1} have the same factors of RoPE: the long ones "
                "hold above rope.scaling.original_context_length, so give rope_frequencies the context as is"
            )
            assert long == longer, f"contexts of {original + 1} and more have different factors of RoPE"
        for context in (len(oracle.tokens), trained):
            if (context > original) == (original < CONTEXT):
                graph = self.build(oracle.model, context=context)
                worst = difference(self._outputs(oracle, graph), own)
                assert worst <= self.tolerance, f"context of {context}: outputs differ by up to {worst:.2g}"

    def test_pairs_of_rope_are_those_of_the_files_conventions(self, oracle: Oracle) -> None:
        graph = self.build(oracle.model)
        if not any(isinstance(operation, Rope) for operation in graph):
            raise SkipTest("the graph has no RoPE")
        if oracle.model.conventions.rope_pairing != "half":
            raise SkipTest("the oracle's pairs are adjacent already")
        try:
            adjacent = with_adjacent_pairs(oracle.model, graph)
        except UnsupportedError as error:
            raise SkipTest(str(error)) from error
        outputs = self._outputs(oracle, self.build(adjacent), adjacent.tensors)
        worst = difference(outputs, self._outputs(oracle, graph))
        assert worst <= self.tolerance, (
            f"stored with adjacent pairs the outputs differ by up to {worst:.2g}: give RoPE the pairing of "
            "model.conventions.rope_pairing"
        )

    def test_after_the_last_state_only_output_rows_are_computed(self, oracle: Oracle) -> None:
        graph = self.build(oracle.model)
        if graph.whole_sequences:
            raise SkipTest("a graph of whole sequences may need all rows until it pools")
        last = max(place for place, operation in enumerate(graph) if operation.states)
        late = [
            operation.output.name
            for operation in graph.operations[last + 1 :]
            if operation.output.rows == TOKENS and any(value.rows == TOKENS for value in operation.inputs)
        ]
        assert not late, f"{', '.join(late)}: computed for every token of a prompt: use select() before"

    def compile(
        self, backend: Backend, graph: Graph, tensors: Mapping[str, TensorInfo], kv_dtype: str = "F32"
    ) -> Program:
        """Returns a program for a context of 128 tokens in steps of 64, with one thread."""
        options = CompileOptions(context=128, batch=64, page=16, kv_dtype=kv_dtype, threads=1)
        return backend.compile(graph, tensors, options)

    def _blame(self, oracle: Oracle) -> str:
        """Whether numpy's outputs are right, so that a difference is another backend's own."""
        if difference(self._own_outputs(oracle), oracle.outputs) > self.tolerance:
            return "numpy's do, too, so the graph is another"
        return "numpy's do not, so the backend computes something else"

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
    """The KL divergence of each row of logits; of other outputs, half the squared relative difference."""
    if name == "logits":
        return kl_divergence(expected, found)
    relative = np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    return np.asarray(relative**2 / 2, np.float64)


def _turns(graph: Graph) -> list[bytes]:
    """The frequencies of each RoPE."""
    return [operation.frequencies.tobytes() for operation in graph if isinstance(operation, Rope)]


def rounded(graph: Graph, tensors: Mapping[str, TensorInfo], dtype: str) -> dict[str, TensorInfo]:
    """Returns the tensors with matrices stored as `dtype`, those whose rows are whole blocks of it."""
    kind = DTYPES[dtype]
    used = {weight.name: weight for weight in graph.weights}
    found = dict(tensors)
    for name, tensor in tensors.items():
        if name in used and len(used[name].shape) > 1 and tensor.shape[-1] % kind.block_size == 0:
            found[name] = TensorInfo(name, tensor.shape, kind, kind.from_float32(tensor.to_float32()))
    return found
