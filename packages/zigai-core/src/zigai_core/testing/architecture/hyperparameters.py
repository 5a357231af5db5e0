"""The conformance suite for the hyperparameters that an architecture reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor
from zigai_core.contracts.errors import ZigAIError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.hyperparameter_keys import NEUTRAL, READ_ELSEWHERE, changes_numbers
from zigai_core.testing.architecture.base import CONTEXT, ArchitectureSuite, with_value
from zigai_core.testing.memory import PeakMemory, traced
from zigai_core.testing.oracles.comparison import difference
from zigai_core.testing.oracles.oracle import Oracle

MEMORY = 64 << 20
"""Most bytes that building a graph may take, whatever the file claims."""

_HOSTILE: Sequence[Any] = (
    *("surprise", -1, 0, 1, 3, 1 << 21, 2**31, 2**63, -0.5, 1e30, float("nan"), float("inf"), True),
    *([], [0], [1, 2, 3], ["surprise"], {"a": 1}, None),
)


def _head_width(model: ModelDescriptor) -> Any:
    hp = model.hyperparameters
    return hp.get("attention.key_length") or hp["embedding_length"] // hp["attention.head_count"]


def _scaling(model: ModelDescriptor) -> str:
    if "rope_factors_long.weight" in model.tensors:
        return "longrope"
    return "linear" if "rope.scaling.factor" in model.hyperparameters else "none"


GGUF_DEFAULTS: Mapping[str, Callable[[ModelDescriptor], Any]] = {
    "attention.head_count_kv": lambda model: model.hyperparameters["attention.head_count"],
    "attention.key_length": _head_width,
    "attention.value_length": _head_width,
    "attention.sliding_window": lambda model: 0,
    "rope.dimension_count": _head_width,
    "rope.freq_base": lambda model: 10000.0,
    "rope.scaling.type": _scaling,
    "rope.scaling.factor": lambda model: 1.0,
    "rope.scaling.attn_factor": lambda model: 1.0,
    "rope.scaling.original_context_length": lambda model: model.hyperparameters["context_length"],
    "final_logit_softcapping": lambda model: 0.0,
    "attn_logit_softcapping": lambda model: 0.0,
    "expert_count": lambda model: 0,
    "vocab_size": lambda model: model.tensors["token_embd.weight"].shape[0],
}
"""Hyperparameters that files may lack, and what they then are: GGUF's specification, and llama.cpp."""


_OF_CORE = "rope."
"""Beginning of the hyperparameters that `rope_frequencies` reads, which core tests for all architectures."""


class HyperparametersConformance(ArchitectureSuite):
    """Tests of hyperparameters that are missing, unread, without effect, or make no sense."""

    def test_every_hyperparameter_has_an_effect_or_is_known_to_have_none(self) -> None:
        for architecture, own in self._by_architecture().items():
            for key in sorted({key for oracle in own for key in oracle.model.hyperparameters}):
                if key in READ_ELSEWHERE or key in self.without_effect:
                    continue
                # Of all oracles, since a scaling of RoPE may leave a key of another one unread.
                tried = [
                    (oracle, other)
                    for oracle in own
                    if key in oracle.model.hyperparameters
                    for other in _other_values(dict(oracle.model.hyperparameters.items())[key])
                ]
                assert not tried or any(self._has_effect(oracle, key, other) for oracle, other in tried), (
                    f"{architecture}: with {key}={tried[0][1]!r} the outputs are the same: read it, or state "
                    "in `without_effect` why it changes nothing"
                )

    def test_numbers_are_taken_as_they_are(self, oracle: Oracle) -> None:
        own = _attributes(self.build(oracle.model))
        for key, value in oracle.model.hyperparameters.items():
            if not isinstance(value, float) or value == 0:
                continue
            smaller = [value / 10, value / 100]
            graphs = [self._built(with_value(oracle.model, key, each), "", "") for each in smaller]
            found = [None if graph is None else _attributes(graph) for graph in graphs]
            if None in found or found[0] == own:  # refused, or without effect in this model
                continue
            assert found[0] != found[1], f"{key} of {smaller[0]:g} and {smaller[1]:g} give the same graph"

    def test_an_option_of_other_models_is_refused_or_has_an_effect(self) -> None:
        for architecture, own in self._by_architecture().items():
            for key, neutral in NEUTRAL.items():
                # Of all oracles, since an option may say what is the default, or come second to another.
                tried = [
                    (oracle, value)
                    for oracle in own
                    for value in self._values_with_effect(oracle, key, neutral)
                ]
                assert not tried or any(self._has_effect(oracle, key, value) for oracle, value in tried), (
                    f"models of {architecture} with {key}={tried[0][1]!r} are loaded, and their outputs are "
                    "those of models without it: the architecture reads the key, but does not use it"
                )

    def test_an_option_of_one_oracle_is_refused_or_has_an_effect_in_the_others(self) -> None:
        for architecture, own in self._by_architecture().items():
            for key, values in _options(own).items():
                for oracle in own:
                    hp = dict(oracle.model.hyperparameters.items())
                    if key in hp:
                        continue
                    tried = [
                        value for value in values if changes_numbers({**hp, key: value}, key, context=CONTEXT)
                    ]
                    assert not tried or any(self._has_effect(oracle, key, value) for value in tried), (
                        f"{architecture}: {oracle.model.name} with {key}={tried[0]!r} has the outputs of the "
                        "model without it, though other models of the architecture have the option"
                    )

    def test_every_option_that_is_read_is_in_an_oracle(self) -> None:
        for architecture, own in self._by_architecture().items():
            recorded = {key for oracle in own for key in oracle.model.hyperparameters}
            for key, neutral in NEUTRAL.items():
                if key in recorded or key in self.unrecorded or key.startswith(_OF_CORE):
                    continue
                read = [
                    value
                    for oracle in own
                    for value in self._values_with_effect(oracle, key, neutral)
                    if self._builds(with_value(oracle.model, key, value))
                    and self._has_effect(oracle, key, value)
                ]
                assert not read, (
                    f"{architecture}: {key}={read[0]!r} changes the outputs, but no oracle has the option, "
                    "so nothing tells whether they are right: record one, or give a reason in `unrecorded`"
                )

    def test_hyperparameters_that_make_no_sense_end_in_an_error_of_zigai(self, oracle: Oracle) -> None:
        keys = [*oracle.model.hyperparameters, *(key for key in NEUTRAL if self._reads(oracle, key))]
        with traced():
            for key in keys:
                for value in _HOSTILE:
                    case = f"with {key}={value!r}"
                    with PeakMemory() as peak:
                        self._built(with_value(oracle.model, key, value), "", case)
                    assert peak.nbytes <= MEMORY, f"{case} building the graph takes {peak.nbytes} bytes"

    def test_a_hyperparameter_that_is_missing_is_named_or_has_its_default(self, oracle: Oracle) -> None:
        own = self._own_outputs(oracle)
        for key in oracle.model.hyperparameters:
            if key in self.without_effect or (key in READ_ELSEWHERE and key not in GGUF_DEFAULTS):
                continue
            without = _without(oracle.model, key)
            # A width that the key gives by default may not be that of a tensor, which the error then names.
            graph = self._built(without, key, f"without {key}", or_a_shape=True)
            if key in self.defaults:
                continue
            stated, default = None, None
            if key in GGUF_DEFAULTS:
                default = GGUF_DEFAULTS[key](without)
                stated = self._built(with_value(oracle.model, key, default), "", f"with {key}={default!r}")
            assert graph is not None or stated is None or key in self.required, (
                f"without {key} the model is refused, but files may lack it: it is then {default!r}"
            )
            if graph is None:
                continue
            expected, what = own, "the model as it is"
            if key in GGUF_DEFAULTS:
                what = f"with {key}={default!r}, which is GGUF's default"
                expected = {} if stated is None else self._outputs(oracle, stated)
            worst = difference(self._outputs(oracle, graph), expected) if expected else math.inf
            assert worst <= self.tolerance, (
                f"without {key} the model is loaded, and its outputs are not those of {what}: refuse it, or "
                "state the default and its source in `defaults`"
            )

    def _builds(self, model: ModelDescriptor) -> bool:
        try:
            self.build(model)
        except ZigAIError:
            return False
        return True

    def _values_with_effect(self, oracle: Oracle, key: str, neutral: Sequence[object]) -> list[Any]:
        """Values for a key that the oracle's model does not have, with which core holds it to matter."""
        if key in oracle.model.hyperparameters:
            return []
        value = _with_effect(neutral)
        hp = {**dict(oracle.model.hyperparameters.items()), key: value}
        if not changes_numbers(hp, key, context=CONTEXT):
            return []
        return [value, not value] if isinstance(value, bool) else [value]  # one of them is the default

    def _reads(self, oracle: Oracle, key: str) -> bool:
        """True if the architecture reads a hyperparameter when the file has it."""
        model = with_value(oracle.model, key, _with_effect(NEUTRAL[key]))
        try:
            self.plugins().architectures.get(model.architecture)(model, context=CONTEXT)
        except ZigAIError:
            return True
        return key in model.hyperparameters.read


def _options(own: Sequence[Oracle]) -> dict[str, list[Any]]:
    """The values of each option in any of the oracles, without RoPE's, which are valid in groups."""
    found: dict[str, list[Any]] = {}
    for oracle in own:
        for key, value in oracle.model.hyperparameters.items():
            if key in NEUTRAL and not key.startswith(_OF_CORE):
                found.setdefault(key, []).append(value)
    return found


def _attributes(graph: Graph) -> list[str]:
    """All numbers of a graph's operations, as text."""
    return [
        f"{operation.output.name}.{field.name} {getattr(operation, field.name)!r}"
        for operation in graph
        for field in fields(operation)
    ]


def _without(model: ModelDescriptor, key: str) -> ModelDescriptor:
    values = {other: value for other, value in model.hyperparameters.items() if other != key}
    return replace(model, hyperparameters=Hyperparameters(values, prefix=model.architecture))


def _other_values(value: Any) -> Iterator[Any]:
    """Other values of the kind of a hyperparameter's."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, 2 * value, value // 2, value + CONTEXT)
    elif isinstance(value, float):
        yield from (2 * value, value / 2) if value and math.isfinite(value) else (0.5, 1.0)
    elif isinstance(value, str):
        yield "surprise"
    elif isinstance(value, (list, tuple)) and value:
        yield value[::-1]
        for other in _other_values(value[0]):
            yield [other, *value[1:]]


def _with_effect(neutral: Sequence[object]) -> Any:
    """A value with an effect, for a key with these values without one."""
    first = neutral[0]
    if isinstance(first, bool):
        return not first
    if isinstance(first, float):
        return 0.75
    return "surprise" if isinstance(first, str) else 5
