"""The conformance suite for architectures passes sound graphs, and finds each planted fault by name."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from zigai_core.contracts.descriptor import Conventions, ModelDescriptor
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import TOKENS, Array, Graph, Operation, Step, Value
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.contracts.plugins import Architecture
from zigai_core.ops.blocks import decoder, experts
from zigai_core.ops.operations import (
    Add,
    Attention,
    Columns,
    GatedActivation,
    Inputs,
    RMSNorm,
    Rope,
    Select,
    TypeEmbedding,
)
from zigai_core.testing.architecture import ArchitectureConformance
from zigai_core.testing.oracles import Oracle
from zigai_core.testing.oracles.names import other_names

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
    unrecorded: ClassVar[Mapping[str, str]] = {
        "attention.sliding_window": "in models with norms of heads it is as in others",
        "expert_weights_norm": "the mixture has no other setting",
    }


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
    operations = [
        Columns(each.output, each.b, 0)
        if isinstance(each, Add) and each.output.name == "blk.1.attn_residual"
        else each
        for each in graph
    ]
    return replace(graph, operations=tuple(operations))


def without_head_norms(graph: Graph) -> Graph:
    operations = [
        Columns(each.output, each.x, 0) if each.output.name.endswith(("q_norm", "k_norm")) else each
        for each in graph
    ]
    unread = dict.fromkeys(("*_q_norm.weight", "*_k_norm.weight"), "not needed")
    return replace(graph, operations=tuple(operations), left_out=unread)


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


def weak() -> Oracle:
    """An oracle whose text is shorter than its window."""
    oracle = Oracle.load(ORACLES / "window.npz")
    short = {name: rows[:6] for name, rows in oracle.outputs.items()}
    return replace(oracle, tokens=oracle.tokens[:6], outputs=short, values={}, rows=())


def named() -> Oracle:
    """An oracle with a name that the family has no more."""
    names = {
        "model_type": "tiny",
        "architecture": "llama",
        "tensors": {"old.weight": "output.weight"},
        "keys": {},
        **other_names(HuggingFaceNames("llama", {}, {})),
    }
    return replace(Oracle.load(ORACLES / "window.npz"), names=names)


def renamed() -> Oracle:
    """An oracle of which the family said other things."""
    oracle = named()
    return replace(oracle, names={**oracle.names, "added": {"*norm.weight": 1.0}})


def pair(folder: Path) -> list[Path]:
    """Oracles of one architecture, one with a window and one with norms of heads."""
    normed = Oracle.load(ORACLES / "head-norms.npz")
    replace(normed, model=replace(normed.model, architecture="llama")).save(folder / "head-norms.npz")
    return [ORACLES / "window.npz", folder / "head-norms.npz"]


MADE: Mapping[str, Callable[[], Oracle]] = {
    "weak": weak,
    "named": named,
    "renamed": renamed,
    "none": weak,
    "both": weak,
}


def selects_at_the_head(model: ModelDescriptor, *, context: int) -> Graph:
    """Computes the last layer for every token."""
    graph = sound(model, context=context)
    rows = {each.x.name: each.output for each in graph if isinstance(each, Select)}
    late = {value.name: Value(name, value.width) for name, value in rows.items()}
    operations: list[Operation] = []
    for each in graph:
        if isinstance(each, Select):
            continue
        changed = {
            field.name: tokens_of(late.get(value.name, value)) if each.output.name != "logits" else value
            for field in fields(each)
            if isinstance(value := getattr(each, field.name), Value)
        }
        operations.append(replace(each, **changed))
        if each.output.name == "output_norm":
            hidden = Value("output_norm", each.output.width, "wanted")
            operations[-1] = replace(operations[-1], output=Value("before", each.output.width))
            operations.append(Select(hidden, Value("before", each.output.width)))
    return replace(graph, operations=tuple(operations))


def tokens_of(value: Value) -> Value:
    return replace(value, rows="tokens")


def of_float32_alone(model: ModelDescriptor, *, context: int) -> Graph:
    """Refuses what is not stored as float32."""
    if any(tensor.dtype.name != "F32" for tensor in model.tensors.values()):
        raise ShapeError("a tensor is not float32")
    return sound(model, context=context)


def with_other_default(model: ModelDescriptor, *, context: int) -> Graph:
    """Has another base of RoPE by default than GGUF."""
    hp = model.hyperparameters
    values = hp.replaced(rope__freq_base=hp.number("rope.freq_base", 5e5))
    return sound(replace(model, hyperparameters=values), context=context)


def ignores_epsilon(model: ModelDescriptor, *, context: int) -> Graph:
    """Has the epsilon written down, and reads that of the file."""
    model.hyperparameters.number("attention.layer_norm_rms_epsilon")
    values = model.hyperparameters.replaced(attention__layer_norm_rms_epsilon=0.01)
    return sound(replace(model, hyperparameters=values), context=context)


def hidden_before_the_norm(graph: Graph) -> Graph:
    residual = next(each.output for each in graph if each.output.name == "blk.1.ffn_residual")
    return replace(graph, outputs={**graph.outputs, "hidden": residual})


def needs_the_vocabulary(model: ModelDescriptor, *, context: int) -> Graph:
    """Refuses a file that does not say how many tokens its embedding has."""
    model.hyperparameters.integer("vocab_size")
    return sound(model, context=context)


def scales_one_residual(model: ModelDescriptor, *, context: int) -> Graph:
    """Reads an option that no oracle has."""
    scale = model.hyperparameters.number("residual_scale", 1.0)
    graph = sound(model, context=context)
    if scale == 1:
        return graph
    operations = [
        replace(each, epsilon=each.epsilon * scale) if isinstance(each, RMSNorm) else each for each in graph
    ]
    return replace(graph, operations=tuple(operations))


def has_a_window_in_some_models(model: ModelDescriptor, *, context: int) -> Graph:
    """Reads the window of every file, and leaves it out of those with norms of heads."""
    graph = sound(replace(model, architecture="qwen3" if _normed(model) else "llama"), context=context)
    if not _normed(model):
        return graph
    operations = [replace(each, window=None) if isinstance(each, Attention) else each for each in graph]
    operations = [without_window(each) for each in operations]
    return replace(graph, operations=tuple(operations))


def _normed(model: ModelDescriptor) -> bool:
    return "blk.0.attn_q_norm.weight" in model.tensors


def without_window(operation: Operation) -> Operation:
    if not isinstance(operation, Attention) or operation.state is None:
        return operation
    state = replace(operation.state, spec=replace(operation.state.spec, window=None))
    return replace(operation, state=state)


OUTPUTS = "outputs_are_those_of_the_oracle"


def with_types(model: ModelDescriptor, *, context: int) -> Graph:
    """Adds rows of the embedding by type, of which texts without types have the first one alone."""
    graph = sound(model, context=context)
    first, *rest = graph
    weight = first.weights[0]
    width = first.output.width
    before = Value("untyped", width, TOKENS)
    types = Value("types", width, TOKENS)
    added = (
        replace(first, output=before),
        TypeEmbedding(types, weight),
        Add(first.output, before, types),
    )
    return replace(graph, operations=(*added, *rest))


def with_unread_inputs(model: ModelDescriptor, *, context: int) -> Graph:
    """Takes embeddings, and goes on without them."""
    graph = sound(model, context=context)
    first, *rest = graph
    inputs = Inputs(Value("inputs", first.output.width, TOKENS), first.output)
    return replace(graph, operations=(first, inputs, *rest))


FAULTS: Mapping[str, tuple[str, Architecture, str, str]] = {
    "hidden before the last norm": ("window", rebuilt(hidden_before_the_norm), OUTPUTS, "outputs differ"),
    "an output of one's own": (
        "window",
        rebuilt(lambda graph: replace(graph, outputs={**graph.outputs, "more": graph.outputs["hidden"]})),
        OUTPUTS,
        "the oracle has no output more",
    ),
    "a text shorter than the window": (
        "weak",
        sound,
        "every_mutant_of_the_graph_is_killed",
        r"blk\.0\.attention: window left out",
    ),
    "types that no text has": (
        "window",
        with_types,
        "an_oracle_has_a_text_of_several_types_if_the_graph_knows_them",
        "window knows types of tokens, but in no oracle the text has several",
    ),
    "embeddings that are ignored": (
        "window",
        with_unread_inputs,
        "rows_given_in_place_of_tokens_are_those_of_the_tokens",
        r"numpy: with embeddings in place of every 1\. token, outputs differ",
    ),
    "names that have changed": (
        "named",
        sound,
        "the_names_of_hugging_face_are_those_of_the_recording",
        r"tensors: old\.weight was output\.weight and is None",
    ),
    "a number that is added to norms no more": (
        "renamed",
        sound,
        "the_names_of_hugging_face_are_those_of_the_recording",
        r"added: \*norm\.weight was 1\.0 and is not there",
    ),
    "an epsilon of at least 0.001": (
        "window",
        of_file(
            lambda model: replace(
                model,
                hyperparameters=model.hyperparameters.replaced(
                    attention__layer_norm_rms_epsilon=max(
                        1e-3, model.hyperparameters.number("attention.layer_norm_rms_epsilon")
                    )
                ),
            )
        ),
        "numbers_are_taken_as_they_are",
        r"attention\.layer_norm_rms_epsilon of 0\.001 and 0\.0001 give the same graph",
    ),
    "a size that files may lack": (
        "window",
        needs_the_vocabulary,
        "a_hyperparameter_that_is_missing_is_named_or_has_its_default",
        r"without vocab_size the model is refused, but files may lack it: it is then 64",
    ),
    "an option of no oracle": (
        "window",
        scales_one_residual,
        "every_option_that_is_read_is_in_an_oracle",
        r"llama: residual_scale=0\.75 changes the outputs, but no oracle has the option",
    ),
    "an option that other options turn off": (
        "both",
        has_a_window_in_some_models,
        "an_option_of_one_oracle_is_refused_or_has_an_effect_in_the_others",
        r"llama: head-norms with attention\.sliding_window=7 has the outputs of the model without it",
    ),
    "no oracle": ("none", sound, "there_are_oracles_for_each_architecture", "holds no oracle"),
    "the last layer for every token": (
        "window",
        selects_at_the_head,
        "after_the_last_state_only_output_rows_are_computed",
        r"blk\.1\.attn_output, .*: computed for every token",
    ),
    "float32 alone": (
        "window",
        of_float32_alone,
        "storage_types_change_the_graph_in_nothing",
        "with F16 weights the architecture refuses",
    ),
    "another default": (
        "window",
        with_other_default,
        "a_hyperparameter_that_is_missing_is_named_or_has_its_default",
        r"without rope\.freq_base .*rope\.freq_base=10000\.0, which is GGUF's default",
    ),
    "a hyperparameter without effect": (
        "window",
        ignores_epsilon,
        "every_hyperparameter_has_an_effect_or_is_known_to_have_none",
        r"with attention\.layer_norm_rms_epsilon=0\.02 the outputs are the same",
    ),
    "epsilon of others": ("window", changed(RMSNorm, epsilon=1e-5), OUTPUTS, r"blk\.0\.attn_norm"),
    "no norm of heads": (
        "head-norms",
        rebuilt(without_head_norms),
        OUTPUTS,
        r"first value that differs is blk\.0\.attn_q_norm",
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
        "a_tensor_that_is_missing_is_named_or_is_optional",
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
        "the_context_changes_factors_of_rope_alone",
        "context of 40",
    ),
}


def without_rope(graph: Graph) -> Graph:
    """The graph whose first layer has no RoPE, so that the bias of its keys changes nothing."""
    replaced = {"blk.0.attn_q_rope", "blk.0.attn_k_rope"}
    kept = [op for op in graph if op.output.name not in replaced]
    values = {op.output.name: op.output for op in kept}
    return replace(
        graph,
        operations=tuple(
            replace(op, query=values["blk.0.attn_q"], key=values["blk.0.attn_k"])
            if isinstance(op, Attention) and op.output.name == "blk.0.attention"
            else op
            for op in kept
        ),
    )


@pytest.mark.parametrize("excused", [True, False])
def test_a_tensor_that_is_read_may_be_excused_for_its_lack_of_effect(excused: bool) -> None:
    suite: Any = type("Suite", (ArchitectureConformance,), {})()
    suite.architectures = {"llama": rebuilt(without_rope)}
    suite.without_effect = {"blk.0.attn_k.bias": "no RoPE"} if excused else {}
    oracle = Oracle.load(ORACLES / "window.npz")
    if excused:
        suite.test_a_tensor_that_nothing_reads_is_refused_by_name(oracle)
    else:
        with pytest.raises(AssertionError, match=r"with a tensor blk\.0\.attn_k\.bias is loaded"):
            suite.test_a_tensor_that_nothing_reads_is_refused_by_name(oracle)


def leaves_biases_out(model: ModelDescriptor, *, context: int) -> Graph:
    """The sound graph of a file without biases, which says that they are not needed."""
    tensors = {name: tensor for name, tensor in model.tensors.items() if not name.endswith("attn_k.bias")}
    graph = sound(replace(model, tensors=tensors), context=context)
    return replace(graph, left_out={**graph.left_out, "*attn_k.bias": "not needed"})


def test_a_tensor_that_is_not_read_is_not_excused() -> None:
    suite: Any = type("Suite", (ArchitectureConformance,), {})()
    suite.architectures = {"llama": leaves_biases_out}
    suite.without_effect = {"*.attn_k.bias": "no RoPE"}
    with pytest.raises(AssertionError, match=r"with a tensor blk\.0\.attn_k\.bias is loaded"):
        suite.test_a_tensor_that_nothing_reads_is_refused_by_name(Oracle.load(ORACLES / "window.npz"))


def run(fault: tuple[str, Architecture, str, str]) -> None:
    """Raises what the test of the suite raises for the fault."""
    name, architecture, test, _ = fault
    suite: Any = type("Suite", (ArchitectureConformance,), {})()
    oracle = MADE[name]() if name in MADE else Oracle.load(ORACLES / f"{name}.npz")
    suite.architectures = {oracle.model.architecture: architecture}
    suite.huggingface = {"tiny": HuggingFaceNames("llama", {}, {})}
    method = getattr(suite, f"test_{test}")
    with tempfile.TemporaryDirectory() as folder:
        made = {"none": [], "both": pair(Path(folder))}
        suite.oracles = made.get(name, [ORACLES / f"{name}.npz"])
        method(*((oracle,) if "oracle" in signature(method).parameters else ()))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    with pytest.raises((AssertionError, ShapeError), match=FAULTS[fault][3]):
        run(FAULTS[fault])


def test_every_test_of_the_suite_finds_a_planted_fault() -> None:
    tests = {name for name in dir(ArchitectureConformance) if name.startswith("test_")}
    found = {f"test_{test}" for _, _, test, _ in FAULTS.values()}
    assert found == tests - ELSEWHERE


ELSEWHERE = {
    "test_other_backends_agree_with_numpy_or_say_what_they_lack",  # needs another backend: integration-tests
}
