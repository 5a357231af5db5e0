"""What the conformance suites for architectures share: their settings, and how they build graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from zigai_core.api.loading import build
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor, TensorInfo
from zigai_core.contracts.errors import PluginError, ShapeError, ZigAIError
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.contracts.plugins import Architecture
from zigai_core.testing.oracles.comparison import TOLERANCE, difference
from zigai_core.testing.oracles.evaluation import Evaluation, float_weights
from zigai_core.testing.oracles.oracle import Oracle

CONTEXT = 128
"""The context of the graphs that are built, in tokens; an oracle's text must fit."""


class ArchitectureSuite:
    """Settings of a suite for architectures.

    `oracles`: a folder of oracles (`*.npz`), or their paths. `architectures`: the functions by the name that
    a file gives. `tolerance`: the largest difference of outputs from the oracle's, by numpy.

    `optional`: patterns of tensors that a file may lack; without any other tensor it has to be refused.
    `without_effect`: hyperparameters that change no output, such as sizes that the shapes of tensors give,
    with the reason why the architecture need not read them, and patterns of tensors that it reads though they
    change none, such as biases of keys that RoPE does not rotate. `defaults`: hyperparameters that a file may
    lack though it then is another model, with what they are and the source, besides `GGUF_DEFAULTS`.
    `required`: hyperparameters that a file must have though `GGUF_DEFAULTS` has a default, with the reason.
    `unrecorded`: options that the architecture reads and no oracle has, since transformers has no model with
    them, with how they are tested.
    `huggingface`: the family's names by `model_type`; by default, those of installed packages.
    """

    oracles: ClassVar[Path | Sequence[Path]]
    architectures: ClassVar[Mapping[str, Architecture]]
    tolerance: ClassVar[float] = TOLERANCE
    optional: ClassVar[Sequence[str]] = ("output.weight", "*.bias")
    without_effect: ClassVar[Mapping[str, str]] = {}
    defaults: ClassVar[Mapping[str, str]] = {}
    required: ClassVar[Mapping[str, str]] = {}
    unrecorded: ClassVar[Mapping[str, str]] = {}
    huggingface: ClassVar[Mapping[str, HuggingFaceNames]] = {}

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Runs a test that has a parameter `oracle` once for each oracle."""
        if "oracle" in metafunc.fixturenames:
            paths = self.oracle_paths()
            metafunc.parametrize("oracle", [*map(_loaded, paths)], ids=[path.stem for path in paths])

    def test_there_are_oracles_for_each_architecture(self) -> None:
        paths = self.oracle_paths()
        assert paths, f"{self.oracles} holds no oracle: record one with zigai_core.testing.oracles.record"
        lacking = {*self.architectures} - {_loaded(path).model.architecture for path in paths}
        assert not lacking, f"no oracle for {', '.join(sorted(lacking))}"

    def _has_effect(self, oracle: Oracle, key: str, value: Any) -> bool:
        """True if a model with this hyperparameter is refused or has other outputs."""
        model = with_value(oracle.model, key, value)
        graph = self._built(model, "", f"with {key}={value!r}")
        if graph is None:
            return True
        return difference(self._outputs(oracle, graph), self._own_outputs(oracle)) > self.tolerance

    def _built(
        self, model: ModelDescriptor, name: str, case: str, *, or_a_shape: bool = False
    ) -> Graph | None:
        """The graph; None if it is refused with an error of ZigAI, which has to contain `name`.

        `or_a_shape`: or that of a tensor, whose shape is wrong.
        """
        try:
            return self.build(model)
        except PluginError as error:  # of Python's exceptions, too
            cause = error.__cause__ or error
            raise AssertionError(f"{case} the architecture raises {type(cause).__name__}: {cause}") from error
        except ZigAIError as error:
            shape = or_a_shape and isinstance(error, ShapeError) and "tensor " in str(error)
            assert name in str(error) or shape, f"{case} the error does not say so: {error}"
        return None

    def build(self, model: ModelDescriptor, *, context: int = CONTEXT) -> Graph:
        """Returns the graph, with all checks of loading."""
        return build(model, context=context, plugins=self.plugins())

    def _outputs(
        self, oracle: Oracle, graph: Graph, tensors: Mapping[str, TensorInfo] | None = None
    ) -> Mapping[str, Array]:
        weights = float_weights(graph, oracle.model.tensors if tensors is None else tensors)
        with np.errstate(all="ignore"):
            return Evaluation(graph, weights, oracle.tokens, oracle.types).outputs()

    def _own_outputs(self, oracle: Oracle) -> Mapping[str, Array]:
        """What the architecture computes of the oracle's model, right or wrong; computed once."""
        computed = self.__dict__.setdefault("_computed", {})
        if oracle not in computed:
            computed[oracle] = self._outputs(oracle, self.build(oracle.model))
        found: Mapping[str, Array] = computed[oracle]
        return found

    def plugins(self) -> Plugins:
        """Returns the installed plugins, with `architectures`."""
        return Plugins.installed().extended(architectures=self.architectures)

    def _by_architecture(self) -> dict[str, list[Oracle]]:
        found: dict[str, list[Oracle]] = {}
        for oracle in map(_loaded, self.oracle_paths()):
            found.setdefault(oracle.model.architecture, []).append(oracle)
        return found

    def oracle_paths(self) -> list[Path]:
        """Returns the paths of the oracles, sorted by name."""
        oracles = self.oracles
        return sorted(oracles.glob("*.npz")) if isinstance(oracles, Path) else sorted(oracles)


@cache
def _loaded(path: Path) -> Oracle:
    """The oracle at a path, read once for all tests that have it as a parameter."""
    return Oracle.load(path)


def with_value(model: ModelDescriptor, key: str, value: Any) -> ModelDescriptor:
    """Returns the model with another value of a hyperparameter."""
    values = {**dict(model.hyperparameters.items()), key: value}
    return replace(model, hyperparameters=Hyperparameters(values, prefix=model.architecture))
