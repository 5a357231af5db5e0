"""The conformance suite for what an architecture reads: tensors and hyperparameters."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from zigai_core.api.loading import build
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor, TensorInfo
from zigai_core.contracts.errors import PluginError, ZigAIError
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.hyperparameter_keys import NEUTRAL, READ_ELSEWHERE, changes_numbers
from zigai_core.contracts.plugins import Architecture
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights
from zigai_core.testing.oracles.oracle import Oracle, float_tensor
from zigai_core.testing.oracles.strength import TOLERANCE, difference

CONTEXT = 128
"""The context of the graphs that are built, in tokens; an oracle's text must fit."""

MEMORY = 64 << 20
"""Most bytes that building a graph may take, whatever the file claims."""

_HOSTILE: Sequence[Any] = (
    *("surprise", -1, 0, 1, 3, 2**31, 2**63, -0.5, 1e30, float("nan"), float("inf"), True),
    *([], [0], [1, 2, 3], ["surprise"], {"a": 1}, None),
)


class InputsConformance:
    """Tests of tensors and hyperparameters.

    `oracles`: a folder of oracles (`*.npz`), or their paths. `architectures`: the functions by the name that
    a file gives; by default, those of installed packages. `tolerance`: the largest difference of outputs from
    the oracle's, by numpy. `without_effect`: hyperparameters that change no output, such as sizes that the
    shapes of tensors give, with the reason why the architecture need not read them.
    """

    oracles: ClassVar[Path | Sequence[Path]]
    architectures: ClassVar[Mapping[str, Architecture]] = {}
    tolerance: ClassVar[float] = TOLERANCE
    without_effect: ClassVar[Mapping[str, str]] = {}

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Runs a test that has a parameter `oracle` once for each oracle."""
        if "oracle" in metafunc.fixturenames:
            paths = self.oracle_paths()
            metafunc.parametrize("oracle", [*map(Oracle.load, paths)], ids=[path.stem for path in paths])

    def test_there_are_oracles_for_each_architecture(self) -> None:
        paths = self.oracle_paths()
        assert paths, f"{self.oracles} holds no oracle: record one with zigai_core.testing.oracles.record"
        lacking = {*self.architectures} - {Oracle.load(path).model.architecture for path in paths}
        assert not lacking, f"no oracle for {', '.join(sorted(lacking))}"

    def test_a_tensor_that_is_missing_is_named_or_changes_the_outputs(self, oracle: Oracle) -> None:
        for name in oracle.model.tensors:
            others = {key: tensor for key, tensor in oracle.model.tensors.items() if key != name}
            graph = self._built(replace(oracle.model, tensors=others), name, f"without tensor {name}")
            if graph is not None:
                worst = difference(self._outputs(oracle, graph, others), oracle.outputs)
                assert worst > self.tolerance, f"without tensor {name} the outputs are the same"

    def test_a_tensor_of_another_shape_is_named_or_has_no_effect(self, oracle: Oracle) -> None:
        for name, tensor in oracle.model.tensors.items():
            values = tensor.to_float32()
            for axis in range(values.ndim):
                larger = np.concatenate([values, values.take([0], axis)], axis)
                tensors = {**oracle.model.tensors, name: float_tensor(name, larger)}
                case = f"with tensor {name} of shape {larger.shape}, not {values.shape},"
                graph = self._built(replace(oracle.model, tensors=tensors), name, case)
                if graph is not None:  # rows more for tokens that the text does not have
                    found = self._outputs(oracle, graph, tensors)
                    cut = {key: found[key][:, : rows.shape[1]] for key, rows in oracle.outputs.items()}
                    assert difference(cut, oracle.outputs) <= self.tolerance, f"{case} the outputs differ"

    def test_a_tensor_that_nothing_reads_is_refused_by_name(self, oracle: Oracle) -> None:
        for name in ("blk.0.surplus.weight", "blk.0.attn_q.surplus", "surplus.weight"):
            tensor = float_tensor(name, np.full((3, 4), 0.5))
            model = replace(oracle.model, tensors={**oracle.model.tensors, name: tensor})
            graph = self._built(model, name, f"with a tensor {name}")
            assert graph is None, f"a model with a tensor {name} is loaded, though nothing reads it"

    def test_every_hyperparameter_is_read_or_is_known_to_have_no_effect(self, oracle: Oracle) -> None:
        hp = oracle.model.hyperparameters.tracked()
        architecture = self.plugins().architectures.get(oracle.model.architecture)
        architecture(replace(oracle.model, hyperparameters=hp), context=CONTEXT)
        unread = sorted({*hp} - hp.read - READ_ELSEWHERE - {*self.without_effect})
        assert not unread, (
            f"{oracle.model.name}: the architecture does not read {', '.join(unread)}: read them, or state "
            "in without_effect why they change nothing"
        )

    def test_a_hyperparameter_that_is_read_has_an_effect(self, oracle: Oracle) -> None:
        for key, value in oracle.model.hyperparameters.items():
            if key in READ_ELSEWHERE or key in self.without_effect:
                continue
            others = list(_others(value))
            effect = any(self._has_effect(oracle, key, other) for other in others)
            assert effect or not others, f"{key} is read, but with {others} the outputs are the same"

    def test_an_option_of_other_models_is_refused_or_has_an_effect(self) -> None:
        oracles = [*map(Oracle.load, self.oracle_paths())]
        for architecture in sorted({oracle.model.architecture for oracle in oracles}):
            own = [oracle for oracle in oracles if oracle.model.architecture == architecture]
            for key, neutral in NEUTRAL.items():
                # Of all oracles, since an option may say what is the default, or come second to another.
                tried = [(oracle, value) for oracle in own for value in self._unusual(oracle, key, neutral)]
                assert not tried or any(self._has_effect(oracle, key, value) for oracle, value in tried), (
                    f"models of {architecture} with {key}={tried[0][1]!r} are loaded, and their outputs are "
                    "those of models without it: the architecture reads the key, but does not use it"
                )

    def test_hyperparameters_that_make_no_sense_end_in_an_error_of_zigai(self, oracle: Oracle) -> None:
        keys = [*oracle.model.hyperparameters, *(key for key in NEUTRAL if self._reads(oracle, key))]
        tracemalloc.start()
        try:
            for key in keys:
                for value in _HOSTILE:
                    tracemalloc.reset_peak()
                    before = tracemalloc.get_traced_memory()[0]
                    self._built(_with(oracle.model, key, value), "", f"with {key}={value!r}")
                    taken = tracemalloc.get_traced_memory()[1] - before
                    assert taken <= MEMORY, f"with {key}={value!r} building the graph takes {taken} bytes"
        finally:
            tracemalloc.stop()

    def test_a_hyperparameter_that_is_missing_is_named_or_has_a_default(self, oracle: Oracle) -> None:
        for key in oracle.model.hyperparameters:
            values = {other: value for other, value in oracle.model.hyperparameters.items() if other != key}
            hp = Hyperparameters(values, prefix=oracle.model.architecture)
            self._built(replace(oracle.model, hyperparameters=hp), "", f"without {key}")

    def _unusual(self, oracle: Oracle, key: str, neutral: Sequence[object]) -> list[Any]:
        """Values for a key that the oracle's model does not have, with which core holds it to matter."""
        if key in oracle.model.hyperparameters:
            return []
        value = _unusual(neutral)
        hp = {**dict(oracle.model.hyperparameters.items()), key: value}
        if not changes_numbers(hp, key, context=CONTEXT):
            return []
        return [value, not value] if isinstance(value, bool) else [value]  # one of them is the default

    def _reads(self, oracle: Oracle, key: str) -> bool:
        """True if the architecture reads a hyperparameter when the file has it."""
        model = _with(oracle.model, key, _unusual(NEUTRAL[key]))
        try:
            self.plugins().architectures.get(model.architecture)(model, context=CONTEXT)
        except ZigAIError:
            return True
        return key in model.hyperparameters.read

    def _has_effect(self, oracle: Oracle, key: str, value: Any) -> bool:
        """True if a model with this hyperparameter is refused or has other outputs."""
        model = _with(oracle.model, key, value)
        graph = self._built(model, "", f"with {key}={value!r}")
        if graph is None:
            return True
        return difference(self._outputs(oracle, graph), oracle.outputs) > self.tolerance

    def _built(self, model: ModelDescriptor, name: str, case: str) -> Graph | None:
        """The graph; None if it is refused with an error of ZigAI, which has to contain `name`."""
        try:
            return self.build(model)
        except PluginError as error:  # of Python's exceptions, too
            cause = error.__cause__ or error
            raise AssertionError(f"{case} the architecture raises {type(cause).__name__}: {cause}") from error
        except ZigAIError as error:
            assert name in str(error), f"{case} the error does not say so: {error}"
        return None

    def build(self, model: ModelDescriptor, *, context: int = CONTEXT) -> Graph:
        """Returns the graph, with all checks of loading."""
        return build(model, context=context, plugins=self.plugins())

    def _outputs(
        self, oracle: Oracle, graph: Graph, tensors: Mapping[str, TensorInfo] | None = None
    ) -> Mapping[str, Array]:
        weights = float_weights(graph, oracle.model.tensors if tensors is None else tensors)
        with np.errstate(all="ignore"):
            return Evaluation(graph, weights, oracle.tokens).outputs()

    def plugins(self) -> Plugins:
        """Returns the installed plugins, with `architectures`."""
        return Plugins.installed().extended(architectures=self.architectures)

    def oracle_paths(self) -> list[Path]:
        """Returns the paths of the oracles, sorted by name."""
        oracles = self.oracles
        return sorted(oracles.glob("*.npz")) if isinstance(oracles, Path) else sorted(oracles)


def _with(model: ModelDescriptor, key: str, value: Any) -> ModelDescriptor:
    values = {**dict(model.hyperparameters.items()), key: value}
    return replace(model, hyperparameters=Hyperparameters(values, prefix=model.architecture))


def _others(value: Any) -> Iterator[Any]:
    """Other values of the kind of a hyperparameter's."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, 2 * value, value // 2)
    elif isinstance(value, float):
        yield from (2 * value, value / 2) if math.isfinite(value) else ()
    elif isinstance(value, str):
        yield "surprise"
    elif isinstance(value, (list, tuple)) and value:
        yield value[::-1]
        for other in _others(value[0]):
            yield [other, *value[1:]]


def _unusual(neutral: Sequence[object]) -> Any:
    """A value with an effect, for a key with these values without one."""
    first = neutral[0]
    if isinstance(first, bool):
        return not first
    if isinstance(first, float):
        return 0.75
    return "surprise" if isinstance(first, str) else 5
