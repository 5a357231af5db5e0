"""The conformance suite for architectures passes sound graphs, and finds each planted fault by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np
import pytest

from zigai_core.contracts.descriptor import Conventions, ModelDescriptor
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Array, Graph, Operation, Step
from zigai_core.contracts.plugins import Architecture
from zigai_core.ops.blocks import decoder, experts
from zigai_core.ops.operations import Add, Attention, GatedActivation, RMSNorm, Rope
from zigai_core.testing.architecture import ArchitectureConformance
from zigai_core.testing.oracles import Oracle

ORACLES = Path(__file__).parent / "data" / "oracles"


def sound(model: ModelDescriptor, *, context: int) -> Graph:
    """The graph of all three oracles."""
    hp = model.hyperparameters
    window = hp.integer("attention.sliding_window", 0) or None
    mixture = experts(hp, renormalise=True) if hp.integer("expert_count", 0) else None
    return decoder(
        model,
        context=context,
        window=window,
        qk_norm=model.architecture == "qwen3",
        feed_forward=mixture,
    )


class TestSound(ArchitectureConformance):
    oracles = ORACLES
    architectures: ClassVar[Mapping[str, Architecture]] = {"llama": sound, "qwen3": sound}
    without_effect: ClassVar[Mapping[str, str]] = {}


def changed(kind: type[Operation], **values: Any) -> Architecture:
    """The sound graph with other attributes in every operation of a kind."""

    def architecture(model: ModelDescriptor, *, context: int) -> Graph:
        graph = sound(model, context=context)
        operations = (
            replace(each, **{key: value(each) if callable(value) else value for key, value in values.items()})
            if isinstance(each, kind)
            else each
            for each in graph
        )
        return replace(graph, operations=tuple(operations))

    return architecture


def rebuilt(change: Callable[[Graph], Graph]) -> Architecture:
    return lambda model, *, context: change(sound(model, context=context))


def of_file(change: Callable[[ModelDescriptor], ModelDescriptor]) -> Architecture:
    return lambda model, *, context: sound(change(model), context=context)


def without_second_residual(graph: Graph) -> Graph:
    from zigai_core.ops.operations import Columns

    operations = [
        Columns(each.output, each.b, 0)
        if isinstance(each, Add) and each.output.name == "blk.1.attn_residual"
        else each
        for each in graph
    ]
    return replace(graph, operations=tuple(operations))


def reads_everything(model: ModelDescriptor, *, context: int) -> Graph:
    """Hides whatever tensors and hyperparameters it has no code for."""
    for key in ("attn_logit_softcapping", "logit_scale", "attention.scale"):
        model.hyperparameters.get(key)
    return replace(sound(model, context=context), left_out={"*": "not used"})


def says_little(model: ModelDescriptor, *, context: int) -> Graph:
    """Hides which tensor is missing."""
    try:
        return sound(model, context=context)
    except ShapeError as error:
        raise ShapeError("the file is damaged") from error


def fails_by_itself(model: ModelDescriptor, *, context: int) -> Graph:
    """Computes with what the file says before it is checked."""
    hp = model.hyperparameters
    assert hp["embedding_length"] // hp["attention.head_count"] > 0
    return sound(model, context=context)


def allocates(model: ModelDescriptor, *, context: int) -> Graph:
    """Makes a list by what the file says, here of 128 MB at most."""
    count = model.hyperparameters.get("block_count")
    layers = [0] * min(count, 1 << 24) if isinstance(count, int) else []
    del layers
    return sound(model, context=context)


def cuts(model: ModelDescriptor, *, context: int) -> Graph:
    """Takes the first rows of a matrix that has more than it needs."""
    tensors = dict(model.tensors)
    for name, tensor in tensors.items():
        if name.endswith("ffn_up.weight"):
            rows = model.hyperparameters.integer("feed_forward_length")
            data = tensor.data[: rows * tensor.shape[1] * 4]
            tensors[name] = replace(tensor, shape=(rows, tensor.shape[1]), data=data)
    return sound(replace(model, tensors=tensors), context=context)


class OfTheStep(GatedActivation):
    """A gate whose activation depends on how many rows the step has."""

    def evaluate(self, step: Step) -> Array:
        y = super().evaluate(step)
        return y * np.float32(1 + 1e-3 * (len(y) == 1))


def depends_on_steps(graph: Graph) -> Graph:
    operations = [
        OfTheStep(each.output, each.gate, each.up, each.activation)
        if isinstance(each, GatedActivation)
        else each
        for each in graph
    ]
    return replace(graph, operations=tuple(operations))


def ignores_the_context(model: ModelDescriptor, *, context: int) -> Graph:
    """Takes the context for the window."""
    window = context // 2
    return decoder(model, context=context, window=window, qk_norm="blk.0.attn_q_norm.weight" in model.tensors)


OUTPUTS = "outputs_are_those_of_the_oracle"
FAULTS: Mapping[str, tuple[str, Architecture, str, str]] = {
    "epsilon of others": ("window", changed(RMSNorm, epsilon=1e-5), OUTPUTS, r"blk\.0\.attn_norm"),
    "no norm of heads": (
        "head-norms",
        lambda model, *, context: decoder(model, context=context),
        OUTPUTS,
        r"does not read .*attn_k_norm",
    ),
    "window longer by one": (
        "window",
        changed(Attention, window=lambda each: each.window + 1),
        OUTPUTS,
        r"first value that differs is blk\.0\.attn_output",
    ),
    "scale of scores": ("head-norms", changed(Attention, scale=0.25), OUTPUTS, r"blk\.0\.attn_output"),
    "base of RoPE": (
        "window",
        changed(Rope, frequencies=lambda each: each.frequencies ** np.float32(1.1)),
        OUTPUTS,
        r"blk\.0\.attn_output",
    ),
    "gate and up exchanged": (
        "window",
        changed(GatedActivation, gate=lambda each: each.up, up=lambda each: each.gate),
        OUTPUTS,
        r"blk\.0\.ffn_down",
    ),
    "activation": ("head-norms", changed(GatedActivation, activation="gelu_tanh"), OUTPUTS, "ffn_down"),
    "a residual left out": ("window", rebuilt(without_second_residual), OUTPUTS, r"blk\.1\.ffn_norm"),
    "experts not renormalised": (
        "experts",
        lambda model, *, context: decoder(
            model, context=context, feed_forward=experts(model.hyperparameters, renormalise=False)
        ),
        OUTPUTS,
        r"blk\.1\.attn_norm",
    ),
    "pairing written down": (
        "window",
        of_file(lambda model: replace(model, conventions=Conventions(rope_pairing="half"))),
        "pairs_of_rope_are_those_of_the_files_conventions",
        "conventions.rope_pairing",
    ),
    "all tensors left out": (
        "window",
        reads_everything,
        "a_tensor_that_nothing_reads_is_refused_by_name",
        "blk.0.surplus.weight is loaded",
    ),
    "read and not used": (
        "window",
        reads_everything,
        "an_option_of_other_models_is_refused_or_has_an_effect",
        "attention.scale=0.75",
    ),
    "an error without a name": (
        "window",
        says_little,
        "a_tensor_that_is_missing_is_named_or_changes_the_outputs",
        r"without tensor token_embd\.weight the error does not say so: the file is damaged",
    ),
    "a matrix cut to size": (
        "window",
        cuts,
        "a_tensor_of_another_shape_is_named_or_has_no_effect",
        r"tensor blk\.0\.ffn_up\.weight has shape \(49, 32\), but \(48, 32\) is needed",
    ),
    "an exception of Python": (
        "window",
        fails_by_itself,
        "hyperparameters_that_make_no_sense_end_in_an_error_of_zigai",
        "raises TypeError",
    ),
    "memory by what the file claims": (
        "window",
        allocates,
        "hyperparameters_that_make_no_sense_end_in_an_error_of_zigai",
        r"block_count=2147483648 building the graph takes \d+ bytes",
    ),
    "a result that depends on the step": (
        "window",
        rebuilt(depends_on_steps),
        "the_way_in_which_a_sequence_is_computed_changes_nothing",
        "numpy: single steps",
    ),
    "a window of half the context": (
        "head-norms",
        ignores_the_context,
        "the_context_changes_no_output_within_it",
        "context of 40",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    name, architecture, test, message = FAULTS[fault]
    suite = type("Suite", (ArchitectureConformance,), {})()
    oracle = Oracle.load(ORACLES / f"{name}.npz")
    suite.architectures = {oracle.model.architecture: architecture}
    suite.oracles = [ORACLES / f"{name}.npz"]
    method = getattr(suite, f"test_{test}")
    arguments = (oracle,) if "oracle" in method.__code__.co_varnames[: method.__code__.co_argcount] else ()
    with pytest.raises((AssertionError, Exception), match=message) as found:
        method(*arguments)
    assert not isinstance(found.value, SkipTest)
