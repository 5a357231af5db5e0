"""Building a graph fails, with an error that names the cause, if it does not fit the file or itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError, PluginError, ShapeError, UnsupportedError
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.state import KVCache, Recurrent, State
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.blocks import DecoderShape, decoder
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.operations import Rope
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.toys import random_tensor, toy_decoder


def changed(model: ModelDescriptor, **values: object) -> ModelDescriptor:
    hp = {**model.hyperparameters, **{key.replace("__", "."): value for key, value in values.items()}}
    return dataclasses.replace(model, hyperparameters=Hyperparameters(hp, prefix="llama"))


def test_a_missing_tensor_is_an_error_with_its_name_and_shape() -> None:
    model = toy_decoder()
    tensors = {name: tensor for name, tensor in model.tensors.items() if name != "blk.1.ffn_up.weight"}
    with pytest.raises(ShapeError, match=r"blk\.1\.ffn_up\.weight is missing.*\(96, 64\)"):
        decoder(dataclasses.replace(model, tensors=tensors), context=64, pairing="adjacent")


def test_a_wrong_shape_is_an_error_with_the_name_and_both_shapes() -> None:
    model = toy_decoder()
    wrong = random_tensor("blk.0.attn_k.weight", (16, 64), "F32", np.random.RandomState(0), 1)
    with pytest.raises(ShapeError, match=r"blk\.0\.attn_k\.weight has shape \(16, 64\).*\(32, 64\)"):
        decoder(
            dataclasses.replace(model, tensors={**model.tensors, wrong.name: wrong}),
            context=64,
            pairing="adjacent",
        )


@pytest.mark.parametrize("name", ["blk.0.attn_norm.weight", "output_norm.weight", "token_embd.weight"])
def test_the_shapes_of_embedding_and_norms_are_checked(name: str) -> None:
    model = toy_decoder()
    wrong = random_tensor(name, (3, 5), "F32", np.random.RandomState(0), 1)
    with pytest.raises(ShapeError, match=name.replace(".", r"\.")):
        decoder(
            dataclasses.replace(model, tensors={**model.tensors, name: wrong}), context=64, pairing="adjacent"
        )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"block_count": 0}, "llama.block_count is 0"),
        ({"block_count": "two"}, "must be a whole number"),
        ({"attention__head_count": 3}, "head_count"),
        ({"rope__dimension_count": 5}, "dimension_count is 5"),
        ({"attention__layer_norm_rms_epsilon": float("nan")}, "epsilon"),
        ({"attention__value_length": 0}, "attention.value_length is 0"),
    ],
)
def test_a_hyperparameter_out_of_range_is_an_error_with_its_key(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        decoder(changed(toy_decoder(), **values), context=64, pairing="adjacent")


def test_an_unknown_rope_scaling_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="'strange'"):
        decoder(changed(toy_decoder(), rope__scaling__type="strange"), context=64, pairing="adjacent")


def test_names_are_unique_and_inputs_are_computed_first() -> None:
    g = GraphBuilder(toy_decoder().tensors)
    x = g.embedding("token_embd", 64)
    with pytest.raises(PluginError, match="already has a value named token_embd"):
        g.embedding("token_embd", 64)
    other = GraphBuilder(toy_decoder().tensors)
    with pytest.raises(PluginError, match="reads token_embd, which is not computed before"):
        other.scale(x, 2.0, name="twice")


def test_a_graph_needs_an_output_that_was_selected() -> None:
    g = GraphBuilder(toy_decoder().tensors)
    x = g.embedding("token_embd", 64)
    with pytest.raises(PluginError, match="select"):
        g.output("logits", x)
    with pytest.raises(PluginError, match="the graph has no outputs"):
        g.finish()


def attending(**attributes: object) -> None:
    tensors = dict(toy_decoder().tensors)
    tensors["sinks.weight"] = random_tensor("sinks.weight", (2,), "F32", np.random.RandomState(0), 1)
    g = GraphBuilder(tensors)
    x = g.embedding("token_embd", 64)
    sizes = {"state": "blk.0", "heads": 4, "kv_heads": 4, "head_dim": 16}
    g.attention(x, x, x, name="attention", **{**sizes, **attributes})


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"heads": 8, "kv_heads": 3, "head_dim": 8}, "8 heads cannot share 3 KV heads"),
        ({"kv_heads": 0}, "its kv_heads is 0"),
        ({"head_dim": 0}, "its key_dim is 0"),
        ({"head_dim": 8}, "its query token_embd is 64 wide, not 4 heads of 8"),
        ({"value_dim": 17}, "its value token_embd is 64 wide, not 4 heads of 17"),
        ({"scale": float("nan")}, "its scale is nan"),
        ({"window": -1}, "its window is -1"),
        ({"chunk": 0}, "its chunk is 0"),
        ({"window": 8, "chunk": 8}, "a window of 8 and chunks of 8"),
        ({"soft_cap": float("inf")}, "its soft cap is inf"),
        ({"sinks": "sinks"}, r"sinks\.weight has shape \(2,\); the architecture needs \(4,\)"),
        ({"sinks": "absent"}, r"absent\.weight is missing"),
        ({"slopes": np.full(4, np.nan, np.float32)}, "its slope nan is not finite"),
        ({"slopes": np.ones((4, 1), np.float32)}, r"its slopes are float32 \(4, 1\)"),
    ],
)
def test_attention_with_invalid_attributes_is_refused_by_name(
    attributes: dict[str, object], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        attending(**attributes)


def test_attention_over_output_rows_is_refused() -> None:
    g = GraphBuilder(toy_decoder().tensors)
    x = g.embedding("token_embd", 64)
    with pytest.raises(ShapeError, match="its query wanted has wanted rows"):
        g.attention(g.select(x), x, x, state="blk.0", heads=4, kv_heads=4, head_dim=16, name="attention")


def test_keys_and_values_of_different_widths_are_read_from_the_hyperparameters() -> None:
    model = toy_decoder(head_dim=24, value_dim=40)
    shape = DecoderShape.of(model.hyperparameters)
    assert (shape.head_dim, shape.value_dim) == (24, 40)
    graph = decoder(model, context=64, pairing="half")
    values = {operation.output.name: operation.output.width for operation in graph}
    assert (values["blk.0.attn_k"], values["blk.0.attn_v"], values["blk.0.attention"]) == (48, 80, 160)


def test_values_of_different_rows_cannot_be_added() -> None:
    g = GraphBuilder(toy_decoder().tensors)
    x = g.embedding("token_embd", 64)
    with pytest.raises(ShapeError, match="wanted"):
        g.add(x, g.select(x), name="sum")


def test_the_description_has_one_line_per_operation() -> None:
    graph = decoder(toy_decoder(layers=1), context=64, pairing="adjacent")
    lines = graph.describe().splitlines()
    assert len(lines) == len(graph.operations)
    assert lines[0] == "token_embd[tokens, 64] = Embedding(token_embd.weight)"
    assert lines[-1] == "logits[wanted, 512] = Linear(output_norm, output.weight)"


def test_the_shape_of_a_decoder_is_read_from_its_hyperparameters() -> None:
    shape = DecoderShape.of(toy_decoder().hyperparameters)
    assert (shape.layers, shape.width, shape.heads, shape.kv_heads, shape.head_dim) == (2, 64, 4, 2, 16)


def test_the_width_of_experts_may_be_an_array_of_equal_entries() -> None:
    toy = toy_decoder()
    widths = np.array([0, 0], np.int32)  # as a GGUF file with one for each layer gives it
    assert DecoderShape.of(changed(toy, expert_feed_forward_length=widths).hyperparameters).hidden == 96
    widths += 3
    assert DecoderShape.of(changed(toy, expert_feed_forward_length=widths).hyperparameters).hidden == 96
    with pytest.raises(UnsupportedError, match=r"expert_feed_forward_length differs between layers"):
        DecoderShape.of(changed(toy, expert_feed_forward_length=np.array([1, 2])).hyperparameters)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"attention__head_count_kv": 3}, r"llama\.attention\.head_count is 4, not a multiple of .*_kv, 3"),
        ({"rope__dimension_count": 5}, r"llama\.rope\.dimension_count is 5, but pairs of elements"),
    ],
)
def test_sizes_that_do_not_divide_are_named_with_the_architecture(values: Any, error: str) -> None:
    with pytest.raises(FormatError, match=error):
        decoder(changed(toy_decoder(), **values), context=64)


def test_a_single_number_has_a_shape_of_one_dimension() -> None:
    model = toy_decoder()
    single = TensorInfo("output.weight", (), DTYPES["F32"], np.zeros(4, np.uint8))
    tensors = {**model.tensors, "output.weight": single}
    assert GraphBuilder(tensors).shape("output.weight") == (1,)
    with pytest.raises(ShapeError, match=r"output\.weight has shape \(\); the architecture needs \(1, 64\)"):
        decoder(dataclasses.replace(model, tensors=tensors), context=64)


def test_a_vector_may_be_stored_as_a_matrix_of_one_row() -> None:
    model = toy_decoder(bias=True)
    plain = decoder(model, context=64)
    tensors = {name: tensor.reshaped((1, *tensor.shape)) for name, tensor in model.tensors.items()}
    tensors["output.weight"] = model.tensors["output.weight"]
    assert tensors["output_norm.weight"].shape == (1, 64)
    graph = decoder(dataclasses.replace(model, tensors=tensors), context=64)
    assert [weight.shape for weight in graph.weights] == [weight.shape for weight in plain.weights]
    options = CompileOptions(context=64)
    logits = []
    for weights in (model.tensors, tensors):
        runner = DirectRunner(NumpyBackend().compile(graph, weights, options))
        logits.append(runner.run([Part(runner.new_sequence(), [1, 2, 3])])[0]["logits"])
    np.testing.assert_array_equal(*logits)


def test_the_pairing_of_rope_defaults_to_that_of_the_file() -> None:
    for pairing in ("adjacent", "half"):
        graph = decoder(toy_decoder(pairing=pairing), context=64)
        assert {op.pairing for op in graph if isinstance(op, Rope)} == {pairing}
    graph = decoder(toy_decoder(pairing="adjacent"), context=64, pairing="half")
    assert {op.pairing for op in graph if isinstance(op, Rope)} == {"half"}


def test_rope_of_output_rows_or_without_a_head_is_refused() -> None:
    g = GraphBuilder(toy_decoder().tensors)
    x, frequencies = g.embedding("token_embd", 64), np.ones(8, np.float32)
    with pytest.raises(ShapeError, match="positions belong to tokens"):
        g.rope(g.select(x), 16, frequencies, "half", name="turned")
    with pytest.raises(ShapeError, match="not whole heads of 0"):
        g.rope(x, 0, frequencies[:0], "half", name="turned")


def test_two_operations_cannot_make_the_same_state() -> None:
    g = GraphBuilder(toy_decoder().tensors)
    x = g.embedding("token_embd", 64)
    g.attention(x, x, x, state="blk.0", heads=4, kv_heads=4, head_dim=16, name="first")
    with pytest.raises(PluginError, match="already has a state named"):
        g.attention(x, x, x, state="blk.0", heads=4, kv_heads=4, head_dim=16, name="second")


def test_a_state_must_be_made_by_the_builder_and_fit_its_operation() -> None:
    g = GraphBuilder(toy_decoder().tensors)
    x = g.embedding("token_embd", 64)
    sizes: dict[str, Any] = {"heads": 4, "kv_heads": 4, "head_dim": 16}
    foreign = State("blk.0", KVCache(4, 16, 16))
    with pytest.raises(PluginError, match=r"make its state blk\.0 with state\(\) first"):
        g.attention(x, x, x, state=foreign, name="foreign", **sizes)
    narrow, memory = (
        g.state("narrow", KVCache(4, 16, 8)),
        g.state("memory", Recurrent({"h": ((4,), "float32")})),
    )
    short = g.state("short", KVCache(4, 16, 16, window=8))
    for state, key, value, text in (
        (narrow, x, x, "its state narrow has 4 of 16 and 8"),
        (memory, x, x, "its state memory is not a KV cache"),
        (short, x, x, "reads further back than the window of 8"),
        (None, x, None, "it has no state, so it needs a key and a value"),
    ):
        with pytest.raises(ShapeError, match=text):
            g.attention(x, key, value, state=state, name=f"with {state}", **sizes)
    g.attention(x, x, x, state=short, window=8, name="first", **sizes)
    g.attention(x, None, None, state=short, window=5, name="second", **sizes)
    with pytest.raises(ShapeError, match="its key and value do not fit its state short"):
        g.attention(x, x, None, state=short, window=8, name="third", **sizes)
    g.attention(x, x, x, state=None, name="encoder", **sizes)
    g.output("hidden", g.select(x))
    graph = g.finish()
    assert graph.whole_sequences
    assert [(group.window, [state.name for state in group.states]) for group in graph.groups] == [
        (8, ["short"])
    ]


def test_a_pairing_or_activation_that_does_not_exist_is_refused() -> None:
    g = GraphBuilder(toy_decoder().tensors)
    x = g.embedding("token_embd", 64)
    wrong: Any = "halves"
    with pytest.raises(PluginError, match="no pairing 'halves', only adjacent and half"):
        g.rope(x, 16, np.ones(8, np.float32), wrong, name="turned")
    with pytest.raises(ShapeError, match="no activation 'halves', only silu, gelu"):
        g.gated_activation(x, x, name="gated", activation=wrong)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_factors_and_caps_that_are_not_finite_are_refused(wrong: float) -> None:
    g = GraphBuilder(toy_decoder().tensors)
    x = g.embedding("token_embd", 64)
    with pytest.raises(ShapeError, match="scaled: its factor is"):
        g.scale(x, wrong, name="scaled")
    with pytest.raises(ShapeError, match="capped: its cap is"):
        g.soft_cap(x, wrong, name="capped")
